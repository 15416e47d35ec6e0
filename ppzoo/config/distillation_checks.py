"""Rules about architectures that hold several networks, and about the keys and options that name these networks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeGuard

from ppzoo.config.arch_sections import DEFAULT_STUDENT
from ppzoo.config.component_uses import ComponentUses, Use, list_items
from ppzoo.config.type_checks import Problem, accepts, if_accepted, show
from ppzoo.errors import suggestion

LOGITS = ("logits", "output")  # the names that losses have for the logits of a network


def check_distillation(uses: ComponentUses) -> Iterator[Problem]:
    """Yield the contradictions about the networks of a distillation."""
    yield from _check_networks(uses)
    yield from _check_trained_networks(uses)
    yield from _check_kinds(uses)
    yield from _check_keys(uses)


def _network_names(uses: ComponentUses) -> list[str] | None:
    """Return the names in `Arch.models`; None if the architecture has none or they cannot be read."""
    models = uses.at("Arch.models")
    if not (uses.arch.component and uses.arch.component.networks == "several" and isinstance(models, list)):
        return None
    names = [name for _, name, _ in list_items(uses.config, "Arch.models")]
    return names if len(names) == len(models) and all(isinstance(name, str) for name in names) else None


def _check_networks(uses: ComponentUses) -> Iterator[Problem]:
    """Every key and option that names a network of a distillation must name one that exists."""
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
    for key in ("pretrained", "freeze"):
        if uses.at(f"Arch.{key}"):
            yield Problem(f"Arch.{key}", f"set this on each network in Arch.models, not on {uses.arch.name}")
    for path, name, options in list_items(uses.config, "Arch.models"):
        if not name.isidentifier():
            yield Problem(path, f"expected a name of letters, digits and underscores, got {show(name)}")
        member = uses.find_component("arch", options.get("name"))
        if member and (member.networks == "several" or member.outputs > 1):
            yield Problem(f"{path}.name", f"expected a network with one output, got {member.name}")
        if options.get("return_stages") and not options.get("return_patterns"):
            got = show(options["return_stages"])
            yield Problem(f"{path}.return_stages", f"expected layers in return_patterns as well, got only {got}")
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
    """The networks that losses train must not be frozen, and all others must be frozen.

    A loss can also compare a frozen teacher with the labels, as in PaddleClas's files: this loss is constant.
    """
    names = _network_names(uses)
    given = uses.at("Arch.freeze_params_list")
    flags = [False] * len(names or ()) if given is None else given
    if not names or not accepts(flags, list[bool]) or len(flags) != len(names):
        return
    frozen = {name for name, flag in zip(names, flags, strict=True) if flag}
    trained, possible, with_labels, teachers = set[str](), set[str](), set[str](), set[str]()
    for use in uses.losses:
        if use.path.startswith("Loss.Train.") and use.component:
            for key in use.component.network_options:
                value = use.options.get(key)
                option = use.component.options.get(key)
                if key in use.options and option and not accepts(value, option.hint):
                    return  # `validate` reports the wrong value; which networks are trained is unknown
                possible |= set(_names_of_trained(value, both=use.component.trains_pairs))
                if names_alone := if_accepted(value, list[str]):
                    with_labels |= set(names_alone)
                    continue
                mutual = frozen if use.component.trains_pairs else None
                trained |= set(_names_of_trained(value, both=False, frozen=mutual))
                teachers |= {name for pair in if_accepted(value, list[list[str]]) or [] for name in pair[1:]}
    trained |= with_labels - teachers
    for name in names if possible else ():
        if name in trained if name in frozen else name not in possible:
            which = f"which {'a' if name in frozen else 'no'} loss in Loss.Train trains"
            expected = f"expected {show(name not in frozen)} for {name}, {which}"
            yield Problem("Arch.freeze_params_list", f"{expected}, got {show(name in frozen)}")


def _check_kinds(uses: ComponentUses) -> Iterator[Problem]:
    """Losses, metrics and postprocessing of several networks require an architecture of several networks.

    An architecture of several networks requires training losses and metrics of several networks. Losses and metrics of
    one network in `Eval`, and postprocessing of one network, work on the output of the deployed network.
    """
    arch = uses.arch.component
    if arch is None:
        return
    for use in (*uses.losses, *uses.metrics, uses.post_process):
        if use.component is None or use.component.networks == arch.networks:
            continue
        if arch.networks == "one":
            expected = uses.names_with("arch", networks="several")
            yield Problem(use.path, f"expected Arch.name {expected} for {use.name}, got {arch.name}")
        elif use is not uses.post_process and not use.path.startswith(("Loss.Eval.", "Metric.Eval.")):
            expected = f"{uses.names_with(use.kind, networks='several')}, whose options name the networks"
            yield Problem(use.path, f"expected {expected}, got {use.name}")


def _check_keys(uses: ComponentUses) -> Iterator[Problem]:
    """A loss that uses the output of an inner layer requires networks that return it."""
    returned = {
        name: if_accepted(options.get("return_patterns"), list[str]) or []
        for _, name, options in list_items(uses.config, "Arch.models")
    }
    for use in uses.losses:
        for option, key, network in _used_layers(use):
            if key not in returned.get(network, [key]):
                known = ", ".join(["logits", *returned[network]])
                fix = f"add it to return_patterns of {network}"
                path = f"{use.path}.{option}"
                yield Problem(path, f"expected an output of {network} ({known}), got {show(key)}; {fix}")
                break


def _used_layers(use: Use) -> Iterator[tuple[str, str, str]]:
    """Yield option, layer and network of the inner layers whose outputs a loss uses."""
    component = use.component
    if component is None:
        return
    key = use.options.get("key")
    if _is_layer(key):
        for names in component.network_options:
            yield from (("key", key, network) for network in _flatten(use.options.get(names)))
    pairs = if_accepted(use.options.get("model_name_pairs"), list[list[str]]) or []
    for index, option in enumerate(component.key_options):
        for pair in pairs:
            networks = pair[index % 2 : index % 2 + 1]
            keys = _flatten(use.options.get(option))
            yield from ((option, key, network) for key in keys for network in networks if _is_layer(key))


def _is_layer(key: Any) -> TypeGuard[str]:
    """Return whether a key names an inner layer, not the logits."""
    return isinstance(key, str) and key not in LOGITS


def _flatten(value: Any) -> Iterator[Any]:
    """Yield the names in a name, a list of names, or a list of pairs."""
    for item in value if isinstance(value, list) else [value]:
        yield from item if isinstance(item, list) else [item]


def _names_of_trained(value: Any, *, both: bool, frozen: Collection[str] | None = None) -> Iterator[str]:
    """Yield the networks that a loss trains: all of a list of names, the first of each pair.

    Args:
        both: the loss trains both networks of a pair.
        frozen: yield the first network of a pair only if the second one is frozen.
    """
    yield from if_accepted(value, list[str]) or []
    for pair in if_accepted(value, list[list[str]]) or []:
        if both:
            yield from pair
        elif frozen is None or set(pair[1:]) <= set(frozen):
            yield from pair[:1]
