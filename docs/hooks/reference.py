"""Write the reference pages from the code, in English and Chinese: `python docs/hooks/reference.py`.

Commands and options come from the parser, keys and components from the schema and the signatures, and architectures
from the catalog; `reference_zh.yaml` has the Chinese sentence for each English one.
`tests/docs/test_reference_pages.py` fails while a page differs from what this script writes, or a sentence has no
Chinese one.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml
from blocks import BLOCKS, list_boxes

from ppzoo import cli, models
from ppzoo.builders.component_factory import TABLES, components
from ppzoo.config.arch_sections import DistillationConfig
from ppzoo.config.component_types import Option, first_paragraph
from ppzoo.config.json_schema_generator import ATTRIBUTE, read_attributes
from ppzoo.config.schema import Sections
from ppzoo.config.section import KINDS, ComponentSpec, Members, Section, all_keys, find_mark, nested_section
from ppzoo.config.type_checks import describe
from ppzoo.models import table

DOCS = Path(__file__).parents[1]
SPEED_FILE = DOCS / "architecture_speed.json"  # written by benchmarks/architectures.py
NOTICE = "<!-- Written by docs/hooks/reference.py; do not edit. -->"
NOT_IN_PADDLECLAS = {
    "Arch.freeze",
    "Arch.in_channels",
    "Arch.models.NAME.in_channels",
    "AMP.dtype",
    "DataLoader.Train.dataset.cache",
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
    "beta1": "decay rate of the running mean of the gradients, from 0 to below 1.",
    "beta2": "decay rate of the running mean of the squared gradients, from 0 to below 1.",
    "centered": "divide by the standard deviation of the gradients instead of the root of their mean square.",
    "coeff": "factor of the penalty, 0 or more.",
    "decay_epochs": "the epochs at which the rate changes, counted from the end of the warm-up, in ascending order.",
    "end_lr": "the rate at the end of the run, 0 or more.",
    "epsilon": "small number that is added to the divisor, above 0.",
    "eta_min": "the rate at the end of the run, 0 or more.",
    "gamma": "factor on the rate at each change, above 0 and below 1.",
    "lazy_mode": "as in PaddlePaddle, where it affects sparse gradients only; ppzoo's networks have none.",
    "learning_rate": "the first rate after the warm-up, above 0.",
    "milestones": "the epochs at which the rate changes, counted from the end of the warm-up, in ascending order.",
    "momentum": "factor of the previous update, from 0 to below 1.",
    "power": "exponent of the decay, above 0.",
    "rho": "decay rate of the running mean of the squared gradients, from 0 to below 1.",
    "step_size": "number of epochs between changes of the rate; it can be a fraction.",
    "threshold": "for `MultiLabelThreshOutput` and `ThreshOutput`: smallest probability of a predicted class.",
    "topk": "for `Topk`: number of classes.",
    "use_nesterov": "use Nesterov momentum.",
    "values": "the rates before, between and after `decay_epochs`, one more than these.",
    "weight_decay": "coefficient of the decay: each step subtracts learning rate x coefficient x weight.",
}
COMMANDS = """\
# Commands

`ppzoo COMMAND --help` prints the same. Exit status: 0: success; 1: the run failed; 2: the input is wrong, as a message
of one line explains.
"""
KEYS = """\
# Configuration keys

All keys of a configuration file except the options of components, which are in [Components](reference_components.md).
The names are PaddleClas's; a key marked with a star (*) exists in ppzoo only. The keys of `Eval` are those of `Train`.
[Configurations](configurations.md) describes how files are combined and checked. `ppzoo check -c FILE` reports unknown
keys and wrong values.

`_BASE_` names the file or files that a configuration inherits from. A section that describes a component (`Arch`,
`Optimizer`, `lr`, `regularizer`, `dataset`, `sampler`, `PostProcess`) also has the key `name` and the options of that
component.
"""
COMPONENTS = """\
# Components

The components that a configuration can name, and their options. Components and options that PaddleClas has are named as
in PaddleClas, unless an entry states another name. In shapes, N is the number of images, C is the number of classes or,
in the shapes of images, of channels, and H x W are height and width. `ppzoo configs --schema` prints all of this as a
JSON Schema for editors. The options of architectures are in [Architectures](reference_architectures.md).
"""
ARCHITECTURES = """\
# All architectures

The {count} architectures by family, with the accuracy that PaddleClas published on the validation images of ImageNet-1k
for its weights (SSLD: weights trained by distillation). Parameters and multiply-adds (FLOPs) are counted by ppzoo for
one image of the input size. `ppzoo models` prints them as a table, and `ppzoo models NAME --summary` prints the layers
of an architecture. [Architectures](architectures.md) helps to choose one.
"""
SEVERAL_NETWORKS = "Arch of several networks"
SPEED = """\
The inference time is that of `Predictor.predict` for one image. The training time is that of a step, divided by its
batch size, {batch}. Measured on {date}: {processor}, {cores} cores, Python {python}, PaddlePaddle {paddle}, by
`benchmarks/architectures.py`.
"""
PLURALS = {"loss": "Losses", "lr": "Learning-rate schedules", "postprocess": "Postprocessing"}


Translate = Callable[[str], str]


class Chinese:
    """Returns the Chinese sentence for an English one, and records the English sentences that were looked up.

    Attributes:
        sentences: Chinese sentences by English ones, from `reference_zh.yaml`.
        used: the English sentences that were looked up.
    """

    def __init__(self) -> None:
        groups = yaml.safe_load((DOCS / "hooks" / "reference_zh.yaml").read_text(encoding="utf-8"))
        self.sentences: dict[str, str] = {pair["en"]: pair["zh"] for group in groups.values() for pair in group}
        self.used: dict[str, None] = {}

    def __call__(self, text: str) -> str:
        english = " ".join(text.split())
        if not english:
            return ""
        self.used[english] = None
        return self.sentences.get(english, english)

    def missing(self) -> list[str]:
        """Return the sentences without a Chinese one."""
        return [text for text in self.used if text not in self.sentences]


def main() -> None:
    chinese = Chinese()
    written = pages(chinese)
    if missing := chinese.missing():
        sys.exit("add these sentences to docs/hooks/reference_zh.yaml:\n" + "\n".join(missing))
    for name, page in written.items():
        (DOCS / name).write_text(page, encoding="utf-8")


def pages(chinese: Chinese) -> dict[str, str]:
    """Return the reference pages in both languages by file name."""
    writers: dict[str, Callable[[Translate], Iterable[str]]] = {
        "reference_commands": write_commands,
        "reference_configuration": write_keys,
        "reference_components": write_components,
        "reference_architectures": write_architectures,
    }
    languages: dict[str, Translate] = {".md": str, ".zh.md": chinese}
    return {
        f"{name}{suffix}": "\n".join([*write(translate), NOTICE, ""])
        for name, write in writers.items()
        for suffix, translate in languages.items()
    }


def _introduction(text: str, translate: Translate) -> str:
    return "\n\n".join(translate(paragraph) for paragraph in text.strip().split("\n\n")) + "\n"


def _heading(marks: str, english: str, translate: Translate) -> list[str]:
    """Return the lines of a heading; a translated one keeps the anchor of the English one."""
    title = translate(english)
    own_anchor = [] if title == english else [f'<a id="{anchor(english)}"></a>', ""]
    return [*own_anchor, f"{marks} {title}", ""]


def _table_head(head: str) -> list[str]:
    return [head, "|" + " --- |" * (head.count("|") - 1)]


def write_commands(translate: Translate) -> Iterator[str]:
    """Yield the lines of the page about commands."""
    yield _introduction(COMMANDS, translate)
    parser = cli.build_parser()
    for name, command in subcommands(parser):
        yield from [f"## ppzoo {name}", "", escape(translate(command.description or "")), ""]
        yield from (_describe_action(action, translate) for action in actions(command))
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


def _describe_action(action: argparse.Action, translate: Translate) -> str:
    named = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    value = "" if action.nargs == 0 else named
    value = " ".join(value) if isinstance(value, tuple) else str(value)
    many = {"*": " ...", "+": " ..."}.get(str(action.nargs), "")
    names = ", ".join(f"`{f'{name} {value}'.strip()}{many}`" for name in action.option_strings or [""])
    text = escape(translate(action.help or "") % {**vars(action), "prog": "ppzoo"})
    if action.option_strings and action.required:
        text += translate("; required")
    return translate("- {names}: {text}").format(names=names, text=text)


def write_keys(translate: Translate) -> Iterator[str]:
    """Yield the lines of the page about configuration keys."""
    yield _introduction(KEYS, translate)
    for title, section, keys in key_tables():
        yield from _heading("##", title, translate if title == SEVERAL_NETWORKS else str)
        yield from [escape(translate(_without_own_name(first_paragraph(section.__doc__)))), ""]
        yield from _table_head(translate("| Key | Type | Default | Meaning |"))
        texts, defaults = read_attributes(section), {key.name: key for key in fields(section)}
        for path, name, option in keys:
            star = r" \*" if path in NOT_IN_PADDLECLAS else ""
            default = translate("required") if option.required else _show_default(defaults[name])
            meanings = [_sentence(texts.get(name, ""), translate), _link_to_section(path, option, translate)]
            meaning = _join_sentences(filter(None, meanings), translate)
            yield f"| `{name}`{star} | {escape(_describe_type(option, translate))} | {default} | {meaning} |"
        yield ""


def key_tables() -> Iterator[tuple[str, type[Section], list[tuple[str, str, Option]]]]:
    """Yield the title, the class, and the keys (path, name, option) of each section."""
    yield from _tables_below("", Sections)
    yield SEVERAL_NETWORKS, DistillationConfig, _keys("Arch", DistillationConfig, only_own=True)
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


def _describe_type(option: Option, translate: Translate) -> str:
    mark = find_mark(option)
    if mark is None:
        return translate("a section") if nested_section(option.hint) else _describe_hint(option.hint, translate)
    several = type(mark).__name__ != "Named"
    return translate(f"a list of {plural_of(mark.kind).lower()}" if several else f"a {KINDS[mark.kind]}")


def _describe_hint(hint: Any, translate: Translate) -> str:
    text = describe(hint).replace("non-empty text", "text").replace("a list of an integer", "a list of integers")
    alternative = translate("{type} or null") if text.endswith(" or null") else "{type}"
    text = text.removesuffix(" or null")
    if text.startswith("one of "):
        choices = text.removeprefix("one of ")
        return alternative.format(type=translate("one of {choices}").format(choices=choices))
    return alternative.format(type=text if re.fullmatch(r"'\w+'", text) else translate(text))


def _link_to_section(path: str, option: Option, translate: Translate) -> str:
    mark, texts = find_mark(option), []
    if _section_of(option) is not None:
        title = path.replace(".Eval", ".Train") + (".NAME" if isinstance(mark, Members) else "")
        texts.append(f"[{title}](#{anchor(title)})")
    if mark is not None:
        heading = plural_of(mark.kind)
        page = f"reference_components.md#{anchor(heading)}" if mark.kind in TABLES else "reference_architectures.md"
        texts.append(f"[{translate(heading).lower()}]({page})")
    if not texts:
        return ""
    return translate("See {}." if len(texts) == 1 else "See {} and {}.").format(*texts)


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


def write_components(translate: Translate) -> Iterator[str]:
    """Yield the lines of the page about components."""
    yield _introduction(COMPONENTS, translate)
    known = components(*TABLES)
    for kind, entries in TABLES.items():
        yield from _heading("##", plural_of(kind), translate)
        for name, entry in entries.items():
            yield from [f"### {name}", "", escape(translate(known[kind][name].description)), ""]
            yield from _option_table(entry, known[kind][name].options, translate)


def _option_table(entry: Any, options: dict[str, Option], translate: Translate) -> Iterator[str]:
    if not options:
        yield from [translate("No options."), ""]
        return
    texts, parameters = read_arguments(entry), inspect.signature(entry).parameters
    yield from _table_head(translate("| Option | Type | Default | Meaning |"))
    for name, option in options.items():
        default = translate("required") if option.required else f"`{_as_yaml(parameters[name].default)}`"
        meaning = _sentence(texts.get(name) or SHARED_TEXTS.get(name, ""), translate)
        yield f"| `{name}` | {escape(_describe_hint(option.hint, translate))} | {default} | {meaning} |"
    yield ""


def read_arguments(entry: Any) -> dict[str, str]:
    """Return the descriptions under "Args:" in the docstring of a class, of its base classes, or of a function."""
    found: dict[str, str] = {}
    for source in reversed(entry.__mro__) if isinstance(entry, type) else [entry]:
        text = inspect.cleandoc(source.__doc__ or "").partition("Args:\n")[2]
        for names, description in ATTRIBUTE.findall(text):
            found |= dict.fromkeys(names.split(", "), " ".join(description.split()))
    return found


def write_architectures(translate: Translate) -> Iterator[str]:
    """Yield the lines of the page about architectures."""
    yield _introduction(ARCHITECTURES, translate).format(count=len(models.MODELS))
    speed = json.loads(SPEED_FILE.read_text(encoding="utf-8")) if SPEED_FILE.is_file() else None
    if speed:
        machine = {**speed["machine"], "paddle": speed["machine"]["paddlepaddle"]}
        yield _introduction(SPEED, translate).format(batch=speed["batch"], date=speed["date"], **machine)
    for family in table.list_families():
        names = [name for name in models.MODELS if table.family_of(name) == family]
        yield from _describe_family(family, names, speed and speed["architectures"], translate)


def _describe_family(
    family: str, names: list[str], speed: dict[str, dict[str, float]] | None, translate: Translate
) -> Iterator[str]:
    """Yield the section of a family.

    Args:
        speed: the milliseconds per image for inference and training by architecture; None: without these columns.
    """
    network = models.MODELS[names[0]].network
    text = inspect.cleandoc(sys.modules[network.__module__].__doc__ or "")
    title, _, rest = text.partition("\n")
    heading = title.partition(":")[0]
    paper = re.split(r"\n\n", rest.strip())[0]
    yield from [f"## {heading}", "", escape(translate(title)), "", escape(translate(" ".join(paper.split()))), ""]
    block = BLOCKS[family]
    caption = translate("Block: {steps}").format(steps=", ".join(list_boxes(block.steps)))
    shown = "The picture shows the layer `{layer}` of `{network}`." if block.layer else "The picture shows `{network}`."
    picture = translate(shown).format(layer=block.layer, network=block.network)
    yield from [f"![{caption}](blocks/{family}.svg)", ""]
    yield from [_join_sentences(filter(None, [picture, translate(block.note)]), translate), ""]
    head = translate("| Name | Parameters (M) | FLOPs (G) | Input | Top-1 | Top-5 | SSLD top-1 |")
    if speed is not None:
        head += " " + translate("Inference (ms) | Training (ms per image) |")
    yield from _table_head(head)
    for row in table.build_rows(names):
        variant = models.MODELS[row["name"]]
        size = " x ".join(map(str, row["input"]))
        published = [variant.weights.top1, variant.weights.top5] if variant.weights else [None, None]
        accuracies = [*published, variant.ssld.top1 if variant.ssld else None]
        cells = [f"{row['params'] / 1e6:.2f}", f"{row['flops'] / 1e9:.3f}", size]
        cells += ["-" if value is None else f"{value:.4f}" for value in accuracies]
        if speed is not None:
            times = [speed.get(row["name"], {}).get(kind) for kind in ("inference", "training")]
            cells += ["-" if value is None else f"{value:.1f}" for value in times]
        yield f"| `{row['name']}` | {' | '.join(cells)} |"
    options = list(dict.fromkeys(option for name in names for option in models.MODELS[name].options))
    names_of_options = ", ".join(f"`{option}`" for option in options)
    yield from ["", translate("Options: {names}.").format(names=names_of_options), ""]


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


def _join_sentences(sentences: Iterable[str], translate: Translate) -> str:
    """Join sentences, with a space between English ones and without one between Chinese ones."""
    return ("" if isinstance(translate, Chinese) else " ").join(sentences)


def _sentence(text: str, translate: Translate) -> str:
    """Return a description with a capital first letter, and null instead of None."""
    text = re.sub(r"\bNone\b", "null", escape(translate(text)))
    return f"{text[:1].upper()}{text[1:]}"


def _without_own_name(text: str) -> str:
    """Return "`Global`: run length ..." without the name, which is the heading."""
    text = re.sub(r"^`[\w.*` ,and]+`: ", "", text)
    return f"{text[:1].upper()}{text[1:]}"


if __name__ == "__main__":
    main()
