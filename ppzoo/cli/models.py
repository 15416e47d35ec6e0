"""The commands about architectures and their official weights: models, convert, weights."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Sequence

from ppzoo.cli.arguments import Commands, add_command, add_quiet, parse_integer
from ppzoo.errors import ConfigError, errors_with_fixes, errors_with_key, printable
from ppzoo.files import WEIGHTS, expand_user
from ppzoo.registry import Registry

DEFAULT_SORT = "name"
LIST_OPTIONS = ("pretrained", "family", "max_params", "max_flops", "sort", "json")  # of the list, not of --summary
SUFFIXES = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}


def add_commands(commands: Commands) -> None:
    models = add_command(commands, "models", _models, "list the architectures")
    models.add_argument(
        "pattern", nargs="?", metavar="PATTERN", help="only names that match, such as '*V2*' (default: all)"
    )
    models.add_argument("--pretrained", action="store_true", help="only architectures with official weights")
    models.add_argument("--family", metavar="NAME", help="only one family, such as mobilenet_v2")
    models.add_argument("--max-params", metavar="N", help="only architectures with at most N parameters, such as 5M")
    models.add_argument(
        "--max-flops", metavar="N", help="only architectures with at most N multiply-adds per image, such as 0.3G"
    )
    models.add_argument(
        "--sort", metavar="KEY", default=DEFAULT_SORT, help="sort by name, params, flops or top1 (default: name)"
    )
    models.add_argument("--json", action="store_true", help="print a JSON list")
    models.add_argument(
        "--summary", action="store_true", help="print the layers of the architecture with the name PATTERN"
    )
    models.add_argument(
        "--in-channels",
        type=parse_integer,
        metavar="N",
        help="with --summary: number of channels of the images (default: 3)",
    )

    convert = add_command(
        commands,
        "convert",
        _convert,
        "convert weights from PyTorch, PaddleClas or safetensors to .pdparams or safetensors",
    )
    convert.add_argument("source", type=expand_user, metavar="IN", help="the weights to convert")
    convert.add_argument(
        "target", type=expand_user, metavar="OUT", help="a path that ends in .pdparams or .safetensors"
    )
    convert.add_argument("--arch", required=True, metavar="NAME", help="the architecture (`ppzoo models` lists them)")
    origins = "torchvision, timm, timm-tf, efficientnet-pytorch or paddleclas (default: detected from the entries)"
    convert.add_argument("--from", dest="origin", metavar="ORIGIN", help=origins)
    add_quiet(convert)

    weights = commands.add_parser(
        "weights",
        help="list, download, verify or remove official weights",
        description="List official weights; download them into a cache, verify or remove them there.",
    )
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    for name, run, description in (
        ("list", _list, "list official weights and their paths in the cache"),
        ("get", _get, "download weights into the cache"),
        ("verify", _verify, "compare the SHA-256 of cached weights with that recorded at the download"),
        ("rm", _remove, "remove weights from the cache"),
    ):
        action = actions.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
        text = "architectures, as a name or a pattern such as '*V2*'"
        if name in ("list", "verify"):
            action.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help=f"{text} (default: all)")
        else:
            action.add_argument("pattern", metavar="PATTERN", help=text)
        if name == "get":
            add_quiet(action)
        action.set_defaults(run=run)


def _models(options: argparse.Namespace) -> None:
    from ppzoo.models import MODELS, list_models, table

    if options.summary:
        if options.pattern is None or "*" in options.pattern:
            got = "" if options.pattern is None else f", got the pattern {options.pattern!r}"
            raise ConfigError(
                f"models: expected the name of an architecture together with --summary{got}; `ppzoo models` lists them"
            )
        given = [name for name in LIST_OPTIONS if getattr(options, name) not in (None, False, DEFAULT_SORT)]
        if given:
            raise ConfigError(f"--{given[0].replace('_', '-')}: expected it without --summary, got both")
        name = MODELS[options.pattern].name  # raises an error with the nearest name
        with errors_with_key("--in-channels"), errors_with_fixes({rf"^{name}\.in_channels: ": ""}):
            print(table.layer_summary(options.pattern, options.in_channels))
        return
    if options.in_channels is not None:
        raise ConfigError(
            "--in-channels: expected it together with --summary and the name of an architecture, got no --summary"
        )
    pattern = "*" if options.pattern is None else options.pattern
    if not MODELS.matching(pattern) and "*" in pattern:
        raise ConfigError(f"models: no architecture matches {pattern!r}; `ppzoo models` lists all names")
    if not MODELS.matching(pattern):
        MODELS[pattern]  # raises an error with the nearest name
    names = list_models(pattern, pretrained=True if options.pretrained else None)
    rows = table.select_rows(
        table.build_rows(names),
        family=options.family,
        max_params=_parse_size("--max-params", options.max_params, "5M"),
        max_flops=_parse_size("--max-flops", options.max_flops, "0.3G"),
        sort=_parse_sort(options.sort, table.SORT_KEYS),
    )
    if not rows and not options.json:
        raise ConfigError(f"models: no architecture matches {_describe_filters(options)}; `ppzoo models` lists all")
    print(json.dumps(rows) if options.json else table.format_table(rows))


def _describe_filters(options: argparse.Namespace) -> str:
    """Return the filters of a command line, without a pattern that is not given."""
    given = {"--family": options.family, "--max-params": options.max_params, "--max-flops": options.max_flops}
    filters = [repr(options.pattern)] if options.pattern is not None else []
    filters += ["--pretrained"] if options.pretrained else []
    return ", ".join([*filters, *(f"{name} {value}" for name, value in given.items() if value is not None)])


def _parse_size(option: str, text: str | None, example: str) -> float:
    """Return the number of an option such as 5M or 0.3G; infinity if it is not given."""
    if text is None:
        return math.inf
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([kKmMgG]?)", text.strip(), re.ASCII)
    size = float(match[1]) * SUFFIXES[match[2].upper()] if match else 0.0
    if not 0 < size < math.inf:
        raise ConfigError(f"{option}: expected a number above 0 such as {example}, got {text!r}")
    return size


def _parse_sort(text: str, keys: Sequence[str]) -> str:
    if text not in keys:
        raise ConfigError(f"--sort: expected {', '.join(keys[:-1])} or {keys[-1]}, got {text!r}")
    return text


def _convert(options: argparse.Namespace) -> None:
    from ppzoo.convert import convert

    source = options.source if os.path.isfile(options.source) else f"{options.source}{WEIGHTS}"
    if os.path.realpath(options.target) in (os.path.realpath(options.source), os.path.realpath(source)):
        raise ConfigError(f"OUT: expected a file other than IN, got {options.target!r} for both")
    print(printable(convert(options.source, options.target, options.arch, options.origin)))


def _list(options: argparse.Namespace) -> None:
    from ppzoo.weights import cached

    for name, url in _official(options.pattern):
        file = cached(url)
        location = f"{file.stat().st_size / 1e6:8.1f} MB  {file}" if file else f"{'-':>11}  {url}"
        print(f"{name:<28} {location}")


def _get(options: argparse.Namespace) -> None:
    from ppzoo.weights import fetch, weights_folder

    for _, url in _official(options.pattern):
        print(fetch(url, weights_folder()))


def _verify(options: argparse.Namespace) -> None:
    from ppzoo.weights import cached, fetch, weights_folder

    names_and_urls = [(name, url) for name, url in _official(options.pattern) if cached(url)]
    for name, url in names_and_urls:
        print(f"{name}: SHA-256 as recorded, {fetch(url, weights_folder())}")
    if not names_and_urls:
        _print_not_cached(options.pattern)


def _remove(options: argparse.Namespace) -> None:
    from ppzoo.weights import cached, discard

    files = [file for _, url in _official(options.pattern) if (file := cached(url))]
    for file in files:
        discard(file)
        print(f"removed {file}")
    if not files:
        _print_not_cached(options.pattern)


def _print_not_cached(pattern: str) -> None:
    from ppzoo.weights import weights_folder

    print(printable(f"no weights of {pattern!r} are in the cache {weights_folder()}"))


def _official(pattern: str) -> list[tuple[str, str]]:
    """Return (name, URL) of the matching official weights; those of PaddleClas's distillation are called NAME_ssld.

    Those of its first stage are called NAME_ssld_stage1.
    """
    from ppzoo.models import MODELS

    urls = Registry[str]("official weights")
    for name, variant in MODELS.items():
        ssld = (f"{name}_ssld", variant.ssld), (f"{name}_ssld_stage1", variant.ssld_stage1)
        for label, record in ((name, variant.weights), *ssld):
            if record:
                urls.add(label, record.url)
    if pattern in MODELS and pattern not in urls:
        raise ConfigError(f"{pattern} has no official weights; `ppzoo weights list` lists those that exist")
    names = urls.matching(pattern) or [pattern]  # a pattern without a match raises an error with the nearest name
    return [(name, urls[name]) for name in names]
