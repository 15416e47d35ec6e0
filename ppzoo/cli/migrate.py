"""The command migrate: write ppzoo's shorter equivalent of PaddleClas's configurations."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ppzoo.cli.arguments import Commands, add_command
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.errors import ConfigError, OutputError, count_text, printable
from ppzoo.files import expand_user, make_parent, write_text

if TYPE_CHECKING:
    from ppzoo.migration import Migration, Source

DEFAULT_FOLDER = "migrated"


class _Written(NamedTuple):
    """A migrated configuration and its text, which is written to `target`."""

    source: Source
    migration: Migration
    target: Path
    text: str


def add_commands(commands: Commands) -> None:
    migrate = add_command(
        commands, "migrate", _migrate, "write ppzoo's shorter equivalent of PaddleClas's configurations"
    )
    migrate.add_argument(
        "source",
        type=expand_user,
        metavar="SOURCE",
        help="a configuration of PaddleClas, a folder with configurations, or the output folder of a PaddleClas"
        " run, whose configuration is read from train.log",
    )
    migrate.add_argument(
        "-o",
        "--output",
        type=expand_user,
        metavar="OUT",
        help="the file to write, or a folder (default: a file of the same name in the current folder; if SOURCE is a"
        f" folder with several configurations, the folder {DEFAULT_FOLDER!r})",
    )


def _migrate(options: argparse.Namespace) -> None:
    from ppzoo import migration

    sources = migration.find_sources(Path(options.source))
    is_folder = len(sources) > 1
    targets = _targets(sources, options.output, is_folder=is_folder)
    ready: list[_Written] = []
    skipped: list[str] = []
    for source, target in zip(sources, targets, strict=True):
        try:
            ready.append(_prepare(source, target))
        except ConfigError as error:
            if not is_folder:
                raise
            skipped.append(error.line)
    if not ready:
        raise ConfigError(f"SOURCE: expected a configuration that ppzoo supports in {options.source}; {skipped[0]}")
    for one in ready:
        try:
            make_parent(one.target)
            write_text(one.target, one.text)
        except OSError as error:
            raise OutputError(one.target, error, "-o" if options.output else "") from error
        _print_written(one)
    if is_folder:
        for line in skipped:
            print(printable(f"skipped {line}"))
        print(f"migrated {len(ready)} of {count_text(len(sources), 'file')}")
    else:
        _print_run_commands(ready[0])


def _targets(sources: list[Source], output: str | None, *, is_folder: bool) -> list[Path]:
    """Return where each configuration is written.

    Raises:
        ConfigError: there is a file already, or two sources have the same target.
    """
    if is_folder:
        folder = Path(output or DEFAULT_FOLDER)
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise ConfigError(f"-o: expected a folder for {len(sources)} configurations, got the file {folder}")
        targets = [folder / source.name for source in sources]
    else:
        target = Path(output or ".")
        targets = [target / sources[0].name.name if os.path.isdir(target) else target]
    seen: set[Path] = set()
    for target in targets:
        if os.path.lexists(target) or target in seen:
            raise ConfigError(f"migrate: {target} exists; give another path: -o OUT")
        seen.add(target)
    return targets


def _prepare(source: Source, target: Path) -> _Written:
    from ppzoo import migration

    try:
        result = migration.migrate_config(migration.read_source(source), target.parent)
    except ConfigError as error:
        raise _with_file(source, error) from error
    return _Written(source, result, target, migration.migration_text(result, source.file, target))


def _with_file(source: Source, error: ConfigError) -> ConfigError:
    """Return the error as one line that begins with the file."""
    first, *others = error.problems
    more = f" (and {count_text(len(others), 'other mistake')})" if others else ""
    name = str(source.file)
    return ConfigError(f"{first}{more}" if first.startswith(name) else f"{name}: {first}{more}")


def _print_written(one: _Written) -> None:
    before, after = _line_count(one.source.file), count_text(one.text.count("\n"), "line")
    base = f", based on {one.migration.base}" if one.migration.base else ""
    lines = f"{after} instead of {before}" if before else f"{after}, from the log of a run"
    print(printable(f"wrote {one.target} ({lines}{base})"))
    for change in one.migration.changes:
        print(printable(f"  {change.line()}"))


def _line_count(file: Path) -> int:
    """Return the number of lines of a YAML file; 0 for a log."""
    return 0 if file.suffix == ".log" else file.read_bytes().count(b"\n")


def _print_run_commands(one: _Written) -> None:
    from ppzoo import migration

    weights = migration.find_run_weights(one.source.run)
    if weights is None:
        print_next_steps(command_line("check", "-c", one.target), command_line("train", "-c", one.target))
    else:
        override = f"Global.pretrained_model={weights}"
        print_next_steps(command_line("eval", "-c", one.target, "-o", override))
