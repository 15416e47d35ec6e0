"""Write the reference pages from the code: `python docs/hooks/reference.py`.

Commands and options come from the parser, keys and components from the schema and the signatures, and architectures
from the catalog. `tests/docs/test_reference_pages.py` fails while a page differs from what this script writes.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
sys.path[:0] = [str(DOCS.parent), str(DOCS / "hooks")]

from blocks import BLOCKS, list_boxes  # noqa: E402

from ppzoo import cli, models  # noqa: E402
from ppzoo.builders.components import SUPPLIED, TABLES, components  # noqa: E402
from ppzoo.config.arch_sections import DistillationConfig  # noqa: E402
from ppzoo.config.component_types import Option, first_paragraph  # noqa: E402
from ppzoo.config.json_schema import ATTRIBUTE, read_attributes  # noqa: E402
from ppzoo.config.schema import Sections  # noqa: E402
from ppzoo.config.section import KINDS, ComponentSpec, Members, Section, all_keys, find_mark, nested_section  # noqa: E402
from ppzoo.config.type_checks import describe  # noqa: E402
from ppzoo.models import table  # noqa: E402

NOTICE = "<!-- Written by docs/hooks/reference.py; do not edit. -->"
NOT_IN_PADDLECLAS = {
    "Arch.freeze",
    "Arch.in_channels",
    "Arch.models.NAME.in_channels",
    "AMP.dtype",
    "DataLoader.Train.dataset.max_bad_fraction",
    "DataLoader.Train.dataset.on_error",
    "EMA.warmup",
    "Global.class_names",
    "Global.deterministic",
    "Global.early_stopping",
    "Global.early_stopping.min_gain",
    "Global.early_stopping.patience",
    "Global.keep",
    "Global.log_histograms",
    "Global.loggers",
    "Global.native",
    "Global.on_nan",
    "Global.save_interval_steps",
    "Optimizer.lr.reference_batch",
    "TTA",
    "TTA.flip",
    "TTA.sizes",
    "TTA.ten_crop",
}
SHARED_TEXTS = {  # options of optimizers, schedules and postprocessing that their docstrings do not repeat
    "beta1": "decay of the mean of the gradients",
    "beta2": "decay of the mean of the squared gradients",
    "centered": "divide by the standard deviation of the gradients instead of the root of their mean square",
    "coeff": "factor of the penalty",
    "cycle": "start again after the last step",
    "decay_epochs": "the epochs at which the rate changes",
    "end_lr": "the rate at the end",
    "epsilon": "added to the divisor",
    "eta_min": "the rate at the end",
    "gamma": "factor at each change",
    "lazy_mode": "accepted as in PaddlePaddle, for sparse gradients",
    "learning_rate": "the rate at the start, after the warm-up",
    "milestones": "the epochs at which the rate changes",
    "momentum": "factor of the previous update",
    "power": "exponent of the curve",
    "rho": "decay of the mean of the squared gradients",
    "step_size": "epochs between changes",
    "threshold": "smallest probability of a predicted class",
    "topk": "number of classes",
    "use_nesterov": "Nesterov's momentum",
    "values": "the rates between these epochs",
    "weight_decay": "factor of the weights that is subtracted at each step",
}
COMMANDS = """\
# Commands

`ppzoo COMMAND --help` prints the same. Exit status: 0 success; 1 the run failed; 2 the input is wrong, which one line
explains.
"""
KEYS = """\
# Configuration keys

All keys of a configuration file except the options of components, which are in [Components](reference_components.md).
The names are PaddleClas's; a key marked with a star (*) exists in ppzoo only. The keys of `Eval` are those of `Train`.
[Configurations](configurations.md) describes how files are combined and checked. `ppzoo check -c FILE` reports unknown
keys and wrong values.

`_BASE_` names the file or files that a configuration is merged into. A section that describes a component (`Arch`,
`Optimizer`, `lr`, `regularizer`, `dataset`, `sampler`, `PostProcess`) also has the key `name` and the options of that
component.
"""
COMPONENTS = """\
# Components

What configurations can name, with its options. Names and options are PaddleClas's where PaddleClas has the component.
`ppzoo configs --schema` prints all of this as a JSON Schema for editors. The options of architectures are in
[Architectures](reference_architectures.md).
"""
ARCHITECTURES = """\
# All architectures

The {count} architectures by family, with the accuracy that PaddleClas published on the validation images of ImageNet-1k
for its weights (SSLD: weights trained by distillation). Parameters and multiply-adds (FLOPs) are counted by ppzoo for
one image of the input size. `ppzoo models` prints the same table, and `ppzoo models NAME --summary` the layers.
[Architectures](architectures.md) helps to choose one.
"""
PLURALS = {"loss": "Losses", "lr": "Learning-rate schedules", "postprocess": "Postprocessing"}


def main() -> None:
    for name, page in pages().items():
        (DOCS / name).write_text(page, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the reference pages by file name."""
    writers: dict[str, Callable[[], Iterable[str]]] = {
        "reference_commands.md": write_commands,
        "reference_configuration.md": write_keys,
        "reference_components.md": write_components,
        "reference_architectures.md": write_architectures,
    }
    return {name: "\n".join([*write(), NOTICE, ""]) for name, write in writers.items()}


def write_commands() -> Iterator[str]:
    """Yield the lines of the page about commands."""
    yield COMMANDS
    parser = cli.build_parser()
    for name, command in subcommands(parser):
        yield from [f"## ppzoo {name}", "", escape(command.description or ""), ""]
        yield from (_describe_action(action) for action in actions(command))
        yield ""


def subcommands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the name and the parser of each command, and of each action of a command such as `ppzoo weights`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield f"{prefix}{name}", command
                yield from subcommands(command, f"{prefix}{name} ")


def actions(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments and options of a command that are documented."""
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [
        action for action in command._actions if not isinstance(action, hidden) and action.help != argparse.SUPPRESS
    ]


def _describe_action(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else action.metavar or "|".join(map(str, action.choices or ())) or action.dest
    value = " ".join(value) if isinstance(value, tuple) else str(value)
    many = {"*": " ...", "+": " ..."}.get(str(action.nargs), "")
    names = ", ".join(f"`{f'{name} {value}'.strip()}{many}`" for name in action.option_strings or [""])
    text = escape((action.help or "") % {**vars(action), "prog": "ppzoo"})
    default = "" if action.default in (None, False, True, argparse.SUPPRESS, []) else f"; default: `{action.default}`"
    default = "" if "default" in text else default
    required = "; required" if action.option_strings and action.required else ""
    return f"- {names}: {text}{default}{required}"


def write_keys() -> Iterator[str]:
    """Yield the lines of the page about configuration keys."""
    yield KEYS
    for title, section, keys in key_tables():
        yield from [f"## {title}", "", escape(_without_own_name(first_paragraph(section.__doc__))), ""]
        yield from ["| Key | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
        texts, defaults = read_attributes(section), {key.name: key for key in fields(section)}
        for path, name, option in keys:
            star = r" \*" if path in NOT_IN_PADDLECLAS else ""
            default = "required" if option.required else _show_default(defaults[name])
            meaning = " ".join(filter(None, [_sentence(texts.get(name, "")), _link_to_section(path, option)]))
            yield f"| `{name}`{star} | {escape(_describe_type(option))} | {default} | {meaning} |"
        yield ""


def key_tables() -> Iterator[tuple[str, type[Section], list[tuple[str, str, Option]]]]:
    """Yield the title, the class, and the keys (path, name, option) of each section."""
    yield from _tables_below("", Sections)
    yield "Arch of several networks", DistillationConfig, _keys("Arch", DistillationConfig, only_own=True)
    member = find_mark(all_keys(DistillationConfig)["models"])
    assert member is not None
    yield "Arch.models.NAME", member.section, _keys("Arch.models.NAME", member.section)


def _tables_below(path: str, section: type[Section]) -> Iterator[tuple[str, type[Section], list[Any]]]:
    if path:
        yield path, section, _keys(path, section)
    for name, option in all_keys(section).items():
        inner = _section_of(option)
        if inner is not None and name != "Eval":  # the keys of Eval are those of Train
            yield from _tables_below(f"{path}.{name}".strip("."), inner)


def _section_of(option: Option) -> type[Section] | None:
    """Return the class of a key's section; None for plain values and components without keys of their section."""
    mark = find_mark(option)
    section = nested_section(option.hint) if mark is None else mark.section
    return None if section is ComponentSpec else section


def _keys(path: str, section: type[Section], only_own: bool = False) -> list[tuple[str, str, Option]]:
    own = vars(section).get("__annotations__", {})
    return [
        (f"{path}.{name}", name, option) for name, option in all_keys(section).items() if not only_own or name in own
    ]


def _describe_type(option: Option) -> str:
    mark = find_mark(option)
    if mark is None:
        return "a section" if nested_section(option.hint) else _describe_hint(option.hint)
    several = type(mark).__name__ != "Named"
    return f"a list of {plural_of(mark.kind).lower()}" if several else f"a {KINDS[mark.kind]}"


def _describe_hint(hint: Any) -> str:
    return describe(hint).replace("non-empty text", "text").replace("a list of an integer", "a list of integers")


def _link_to_section(path: str, option: Option) -> str:
    mark, texts = find_mark(option), []
    if _section_of(option) is not None:
        title = path.replace(".Eval", ".Train") + (".NAME" if isinstance(mark, Members) else "")
        texts.append(f"[{title}](#{anchor(title)})")
    if mark is not None:
        heading = plural_of(mark.kind)
        page = f"reference_components.md#{anchor(heading)}" if mark.kind in TABLES else "reference_architectures.md"
        texts.append(f"[{heading.lower()}]({page})")
    return f"See {' and '.join(texts)}." if texts else ""


def _show_default(key: Any) -> str:
    value = key.default if key.default is not MISSING else None
    if value is None or isinstance(value, Section):
        return "-"
    return f"`{_as_yaml(value)}`"


def _as_yaml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": "''"}.get(value, str(value))


def write_components() -> Iterator[str]:
    """Yield the lines of the page about components."""
    yield COMPONENTS
    known = components(*TABLES)
    for kind, entries in TABLES.items():
        yield from [f"## {plural_of(kind)}", ""]
        for name, entry in entries.items():
            options = known[kind][name].options
            yield from [f"### {name}", "", escape(known[kind][name].description), ""]
            yield from _option_table(entry, options, SUPPLIED.get(kind, set()))


def _option_table(entry: Any, options: dict[str, Option], supplied: Iterable[str]) -> Iterator[str]:
    if not options:
        yield from ["No options.", ""]
        return
    texts, parameters = read_arguments(entry), inspect.signature(entry).parameters
    yield from ["| Option | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        default = "required" if option.required else f"`{_as_yaml(parameters[name].default)}`"
        meaning = _sentence(texts.get(name) or SHARED_TEXTS.get(name, ""))
        yield f"| `{name}` | {escape(_describe_hint(option.hint))} | {default} | {meaning} |"
    yield ""


def read_arguments(entry: Any) -> dict[str, str]:
    """Return the descriptions under "Args:" in the docstring of a class, of its base classes, or of a function."""
    found: dict[str, str] = {}
    for source in reversed(entry.__mro__) if isinstance(entry, type) else [entry]:
        text = inspect.cleandoc(source.__doc__ or "").partition("Args:\n")[2]
        for names, description in ATTRIBUTE.findall(text):
            found |= dict.fromkeys(names.split(", "), " ".join(description.split()))
    return found


def write_architectures() -> Iterator[str]:
    """Yield the lines of the page about architectures."""
    yield ARCHITECTURES.format(count=len(models.MODELS))
    for family in table.list_families():
        names = [name for name in models.MODELS if table.family_of(name) == family]
        yield from _describe_family(family, names)


def _describe_family(family: str, names: list[str]) -> Iterator[str]:
    network = models.MODELS[names[0]].network
    text = inspect.cleandoc(sys.modules[network.__module__].__doc__ or "")
    title, _, rest = text.partition("\n")
    heading = title.partition(":")[0]
    paper = re.split(r"\n\n", rest.strip())[0]
    yield from [f"## {heading}", "", escape(title), "", escape(" ".join(paper.split())), ""]
    block = BLOCKS[family]
    layer = f"the layer `{block.layer}` of `{block.network}`" if block.layer else f"`{block.network}`"
    yield from [f"![Block: {', '.join(list_boxes(block.steps))}](blocks/{family}.svg)", ""]
    yield from [" ".join(filter(None, [f"The picture shows {layer}.", block.note])), ""]
    yield from ["| Name | Parameters (M) | FLOPs (G) | Input | Top-1 | Top-5 | SSLD top-1 |"]
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in table.build_rows(names):
        variant = models.MODELS[row["name"]]
        size = " x ".join(map(str, row["input"]))
        published = [variant.weights.top1, variant.weights.top5] if variant.weights else [None, None]
        accuracies = [*published, variant.ssld.top1 if variant.ssld else None]
        cells = [f"{row['params'] / 1e6:.2f}", f"{row['flops'] / 1e9:.3f}", size]
        cells += ["-" if value is None else f"{value:.4f}" for value in accuracies]
        yield f"| `{row['name']}` | {' | '.join(cells)} |"
    options = list(dict.fromkeys(option for name in names for option in models.MODELS[name].options))
    yield from ["", f"Options: {', '.join(f'`{option}`' for option in options)}.", ""]


def plural_of(kind: str) -> str:
    """Return the heading of a kind of component."""
    return PLURALS.get(kind) or f"{KINDS[kind][0].upper()}{KINDS[kind][1:]}s"


def anchor(heading: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def escape(text: str) -> str:
    """Return text for a table cell: no vertical bars, and no HTML outside of code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)


def _sentence(text: str) -> str:
    """Return a description with a capital first letter, and null instead of None."""
    text = re.sub(r"\bNone\b", "null", escape(text))
    return f"{text[:1].upper()}{text[1:]}"


def _without_own_name(text: str) -> str:
    """Return "`Global`: run length ..." without the name, which is the heading."""
    text = re.sub(r"^`[\w.*` ,and]+`: ", "", text)
    return f"{text[:1].upper()}{text[1:]}"


if __name__ == "__main__":
    main()
