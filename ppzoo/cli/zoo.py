"""The commands about architectures and their official weights: models, convert, weights."""

from __future__ import annotations

import argparse
import json

from ppzoo.errors import printable
from ppzoo.files import expand_user
from ppzoo.registry import Registry


def add_commands(commands) -> None:
    models = commands.add_parser("models", help="list the architectures")
    models.add_argument("pattern", nargs="?", default="*", help="only names that match, such as '*V2*'")
    models.add_argument("--pretrained", action="store_true", help="only those with official weights")
    models.add_argument("--json", action="store_true", help="print one JSON list")
    models.add_argument("--summary", action="store_true", help="the layers of the architecture named by PATTERN")
    models.set_defaults(run=_models)

    convert = commands.add_parser("convert", help="turn weights of any origin into those of an architecture")
    convert.add_argument("source", type=expand_user, metavar="IN")
    convert.add_argument("target", type=expand_user, metavar="OUT", help="ends in .pdparams or .safetensors")
    convert.add_argument("--arch", required=True, metavar="NAME")
    origins = "torchvision, timm, timm-tf, efficientnet-pytorch or paddleclas; by default told from the names"
    convert.add_argument("--from", dest="origin", metavar="ORIGIN", help=origins)
    convert.set_defaults(run=_convert)

    weights = commands.add_parser("weights", help="the cache of official weights")
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    for name, run, description in (
        ("list", _list, "official weights, and where those that were fetched lie"),
        ("get", _get, "fetch weights"),
        ("verify", _verify, "compare fetched weights with what was recorded of them"),
        ("rm", _remove, "remove fetched weights"),
    ):
        action = actions.add_parser(name, help=description)
        many = name in ("list", "verify")
        action.add_argument(
            "pattern", **({"nargs": "?", "default": "*"} if many else {}), help="architectures: a pattern"
        )
        action.set_defaults(run=run)


def _models(options: argparse.Namespace) -> None:
    from ppzoo.models import list_models, table

    if options.summary:
        print(table.layer_summary(options.pattern))
        return
    names = list_models(options.pattern, pretrained=True if options.pretrained else None)
    print(json.dumps(table.build_rows(names)) if options.json else table.format_table(names))


def _convert(options: argparse.Namespace) -> None:
    from ppzoo.convert import convert

    print(printable(convert(options.source, options.target, options.arch, options.origin)))


def _list(options: argparse.Namespace) -> None:
    from ppzoo.weights import cached

    for name, url in _official(options.pattern):
        file = cached(url)
        place = f"{file.stat().st_size / 1e6:8.1f} MB  {file}" if file else f"{'-':>11}  {url}"
        print(f"{name:<28} {place}")


def _get(options: argparse.Namespace) -> None:
    from ppzoo.weights import fetch, weights_folder

    for _, url in _official(options.pattern):
        print(fetch(url, weights_folder()))


def _verify(options: argparse.Namespace) -> None:
    from ppzoo.weights import cached, fetch, weights_folder

    for name, url in _official(options.pattern):
        if cached(url):
            print(f"{name}: as recorded, {fetch(url, weights_folder())}")


def _remove(options: argparse.Namespace) -> None:
    from ppzoo.weights import cached, discard

    for _, url in _official(options.pattern):
        file = cached(url)
        if file:
            discard(file)
            print(f"removed {file}")


def _official(pattern: str) -> list[tuple[str, str]]:
    """(name, URL) of the official weights that match; those of PaddleClas's distillation are called NAME_ssld."""
    from ppzoo.models import MODELS

    urls = Registry[str]("set of official weights")
    for name, variant in MODELS.items():
        for label, record in ((name, variant.weights), (f"{name}_ssld", variant.ssld)):
            if record:
                urls.add(label, record.url)
    names = urls.matching(pattern) or [pattern]  # what matches nothing is answered with the nearest name
    return [(name, urls[name]) for name in names]
