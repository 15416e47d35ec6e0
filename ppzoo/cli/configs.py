"""The commands about configurations: configs, check."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
from pathlib import Path
from typing import Any

from ppzoo.cli.arguments import Commands, add_command, add_config_arguments, overrides
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.cli.paddle import import_paddle
from ppzoo.errors import ConfigError, OutputError, UnknownNameError, printable
from ppzoo.files import ABSENT, describe_absence, expand_user, write_text

HEADINGS = ("name", "architecture", "image", "description")


def add_commands(commands: Commands) -> None:
    configs = add_command(
        commands,
        "configs",
        _configs,
        "list configurations, copy one for editing, or print their JSON Schema",
        needs_paddle=False,
    )
    configs.add_argument(
        "pattern",
        nargs="?",
        metavar="NAME|PATTERN",
        help="only names that match, such as '*V2*'; '*_base_*' lists the files on which other configurations are"
        " based (_BASE_)",
    )
    configs.add_argument(
        "--copy",
        nargs="?",
        const=".",
        type=expand_user,
        metavar="PATH",
        help="write the configuration NAME to a file for editing (default: into the current folder)",
    )
    configs.add_argument(
        "--schema",
        action="store_true",
        help="print the JSON Schema of configurations, with which editors complete and check them",
    )
    check = add_command(commands, "check", _check, "validate a configuration without reading its data")
    add_config_arguments(check, required=True)


def _configs(options: argparse.Namespace) -> None:
    if options.schema and (options.pattern or options.copy):
        raise ConfigError("configs: expected --schema alone, got it with NAME or --copy")
    if options.schema:
        _print_schema()
    elif options.copy is not None:
        _copy(options.pattern, Path(options.copy))
    else:
        print(_table(_matching(options.pattern)))


def _print_schema() -> None:
    import_paddle()
    from ppzoo import builders, config

    print(json.dumps(config.json_schema(builders.components()), indent=2))


def _matching(pattern: str | None) -> list[str]:
    """Return the names that match: those in `_base_` folders if the pattern contains `_base_`, else all others."""
    from ppzoo.config import packaged_configs

    names = packaged_configs.config_names(bases=packaged_configs.BASES in (pattern or ""))
    if pattern is None:
        return names
    lowered = pattern.lower()
    found = [
        name
        for name in names
        if any(fnmatch.fnmatchcase(text, lowered) for text in (name.lower(), name.rpartition("/")[2].lower()))
    ]
    if not found:
        raise UnknownNameError("configuration", pattern, names)
    return found


def _table(names: list[str]) -> str:
    rows = [HEADINGS, *(_row(name) for name in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(name: str) -> tuple[str, ...]:
    from ppzoo import config
    from ppzoo.config import packaged_configs

    file = packaged_configs.FOLDER / f"{name}{packaged_configs.SUFFIX}"
    content: dict[str, Any] = config.load(file)
    arch = content.get("Arch", {}).get("name", "-")
    shape = content.get("Global", {}).get("image_shape", [])
    return name, arch, "x".join(map(str, shape[1:])) or "-", packaged_configs.read_description(file)


def _copy(name: str | None, target: Path) -> None:
    """Write a configuration of the package to a new file; its `_BASE_` becomes a name, which works from anywhere."""
    from ppzoo.config import packaged_configs

    if name is None:
        raise ConfigError("configs: expected NAME together with --copy; `ppzoo configs` lists the names")
    source = packaged_configs.find_packaged(name)
    if source is None:
        known = packaged_configs.config_names() + packaged_configs.config_names(bases=True)
        raise UnknownNameError("configuration", name, known)
    if os.path.isdir(target):
        target = target / source.name
    if os.path.lexists(target):
        raise ConfigError(f"configs: {target} exists; give another path: --copy PATH")
    existing = next(path for path in target.absolute().parents if os.path.lexists(path))
    if describe_absence(target.parent) == ABSENT and os.path.isdir(existing):
        raise ConfigError(f"--copy: cannot write {target}: there is no folder {target.parent}; create it")
    try:
        write_text(target, _with_named_base(source))
    except OSError as error:
        raise OutputError(target, error, "--copy") from error
    print(printable(f"wrote {target}"))
    if packaged_configs.BASES not in source.parts:  # files in `_base_` cannot be trained: Arch or data is missing
        print_next_steps(command_line("train", "-c", target))


def _with_named_base(source: Path) -> str:
    """Return the text of a configuration in the package, with a `_BASE_` that is relative to the package's folder."""
    from ppzoo.config import packaged_configs

    def to_name(found: re.Match[str]) -> str:
        base = os.path.normpath(source.parent / found[1])
        return f"_BASE_: {Path(base).relative_to(packaged_configs.FOLDER).as_posix()}"

    text = source.read_text(encoding="utf-8")
    return re.sub(r"^_BASE_: (\S+\.yaml)$", to_name, text, flags=re.MULTILINE)


def _check(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    builders.dry_run_config(options.config, overrides(options))
    print(printable(f"{options.config}: no mistakes found"))
