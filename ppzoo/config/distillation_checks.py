"""Rules about architectures that hold several networks, and about what names these networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppzoo.config.arch_sections import DEFAULT_STUDENT
from ppzoo.config.component_uses import ComponentUses, list_items
from ppzoo.config.type_checks import Problem, accepts, if_accepted, show
from ppzoo.errors import suggestion


def check_distillation(uses: ComponentUses) -> Iterator[Problem]:
    """Yield the contradictions about the networks of a distillation."""
    yield from _check_networks(uses)
    yield from _check_trained_networks(uses)
    yield from _check_kinds(uses)


def _network_names(uses: ComponentUses) -> list[str] | None:
    """Return the names in `Arch.models`; None if the architecture has none or they cannot be read."""
    models = uses.at("Arch.models")
    if not (uses.arch.component and uses.arch.component.networks == "several" and isinstance(models, list)):
        return None
    names = [name for _, name, _ in list_items(uses.config, "Arch.models")]
    return names if len(names) == len(models) and all(isinstance(name, str) for name in names) else None


def _check_networks(uses: ComponentUses) -> Iterator[Problem]:
    """Everything that names a network of a distillation must name one that exists."""
    names = _network_names(uses)
    if names is None:
        return
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        got = f"{repeated[0]!r} twice" if repeated else "none"
        yield Problem("Arch.models", f"expected networks with different names, got {got}")
    for key in ("pretrained_list", "freeze_params_list"):
        values = uses.at(f"Arch.{key}")
        if isinstance(values, list) and len(values) != len(names):
            yield Problem(f"Arch.{key}", f"expected {len(names)} entries, one per network, got {len(values)}")
    for key in ("pretrained", "use_ssld", "freeze"):
        if uses.at(f"Arch.{key}"):
            yield Problem(f"Arch.{key}", f"set this on each network in Arch.models, not on {uses.arch.name}")
    for path, name, options in list_items(uses.config, "Arch.models"):
        if not name.isidentifier():
            yield Problem(path, f"expected a name of letters, digits and underscores, got {show(name)}")
        member = uses.find_component("arch", options.get("name"))
        if member and (member.networks == "several" or member.outputs > 1):
            yield Problem(f"{path}.name", f"expected a network with one output, got {member.name}")
    for path, name in _used_networks(uses):
        if isinstance(name, str) and name not in names:
            text = f"expected the name of a network in Arch.models, got {name!r}{suggestion(name, names)}"
            yield Problem(path, text)


def _used_networks(uses: ComponentUses) -> Iterator[tuple[str, Any]]:
    """Yield path and name of every network that something refers to."""
    yield "Arch.infer_model_name", uses.at("Arch.infer_model_name") or DEFAULT_STUDENT
    for use in (uses.post_process, *uses.losses, *uses.metrics):
        path = use.path.removesuffix(".name") if use is uses.post_process else use.path
        for key in use.component.network_options if use.component else ():
            yield from ((f"{path}.{key}", name) for name in _flatten(use.options.get(key)))


def _check_trained_networks(uses: ComponentUses) -> Iterator[Problem]:
    """The networks that losses train are not frozen, and all others are."""
    names = _network_names(uses)
    trained = {
        name
        for use in uses.losses
        if use.path.startswith("Loss.Train.") and use.component
        for key in use.component.network_options
        for name in _names_of_trained(use.options.get(key))
    }
    given = uses.at("Arch.freeze_params_list")
    frozen = [False] * len(names or ()) if given is None else given
    if not names or not trained or not accepts(frozen, list[bool]) or len(frozen) != len(names):
        return
    for name, is_frozen in zip(names, frozen, strict=True):
        if is_frozen == (name in trained):
            which = f"which {'a' if is_frozen else 'no'} loss in Loss.Train trains"
            expected = f"expected {show(not is_frozen)} for {name}, {which}"
            yield Problem("Arch.freeze_params_list", f"{expected}, got {show(is_frozen)}")


def _check_kinds(uses: ComponentUses) -> Iterator[Problem]:
    """Losses and metrics of several networks require an architecture of several networks, and vice versa."""
    arch = uses.arch.component
    if arch is None:
        return
    for use in (*uses.losses, *uses.metrics, uses.post_process):
        if use.component is None or use.component.networks == arch.networks:
            continue
        if arch.networks == "one":
            expected = uses.names_with("arch", networks="several")
            yield Problem(use.path, f"expected Arch.name {expected} for {use.name}, got {arch.name}")
        elif use is not uses.post_process:
            expected = f"{uses.names_with(use.kind, networks='several')}, whose options name the networks"
            yield Problem(use.path, f"expected {expected}, got {use.name}")


def _flatten(value: Any) -> Iterator[Any]:
    """Yield the names in a name, a list of names, or a list of pairs."""
    for item in value if isinstance(value, list) else [value]:
        yield from item if isinstance(item, list) else [item]


def _names_of_trained(value: Any) -> Iterator[str]:
    """Yield the networks that a loss trains: all of a list of names, the first of each pair."""
    yield from if_accepted(value, list[str]) or []
    yield from (pair[0] for pair in if_accepted(value, list[list[str]]) or [] if pair)
