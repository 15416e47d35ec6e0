"""Migrate one configuration: translate it, shorten it, and check that the result is equal to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo import yaml_io
from ppzoo.builders import components
from ppzoo.config import dump, load, merge
from ppzoo.config.loading import BASE
from ppzoo.config.packaged_configs import FOLDER, SUFFIX
from ppzoo.errors import PpzooError, one_line
from ppzoo.migration.shortening import canonical_of, shorten
from ppzoo.migration.translation import Change, translate


class Migration(NamedTuple):
    """A migrated configuration.

    Attributes:
        base: the name of the included configuration that it is based on; None if no base makes it shorter.
        keys: the keys that differ from the base, or from the defaults without a base.
        changes: what differs from PaddleClas's file, and why.
    """

    base: str | None
    keys: dict[str, Any]
    changes: list[Change]


def migrate_config(config: Mapping[str, Any], folder: Path) -> Migration:
    """Translate a configuration of PaddleClas and express it by the nearest included configuration.

    Args:
        folder: where the file will be.

    Raises:
        ConfigError: all features and values that ppzoo does not support; see `translate`.
        PpzooError: the result is not equal to the translated configuration, which is a fault of ppzoo.
    """
    known = components()
    translated, changes = translate(config, known)
    short = shorten(translated, known, folder)
    migration = Migration(short.base, short.keys, changes)
    _require_equal(migration, translated)
    return migration


def migration_text(migration: Migration, source: Path, target: Path) -> str:
    """Return the text of the file `target`; comments at its beginning name the command for training and `source`."""
    comments = [f"ppzoo train -c {target.name}", f"Migrated by `ppzoo migrate` from {source}."]
    return "".join(f"# {one_line(comment)}\n" for comment in comments) + _content(migration)


def _content(migration: Migration) -> str:
    """Return the file without its comments."""
    base = f"{BASE}: {migration.base}\n\n" if migration.base else ""
    return base + "\n".join(_section(key, value) for key, value in migration.keys.items())


def _section(key: str, value: Any) -> str:
    """Return the YAML of a section; `dump` would write a section that is null as `{KEY: null}`."""
    return f"{key}: null\n" if value is None else dump({key: value})


def _require_equal(migration: Migration, translated: Mapping[str, Any]) -> None:
    """Check that the migrated file, merged into its base, is equal to the translated configuration.

    Raises:
        PpzooError: it is not, which is a fault of ppzoo.
    """
    known = components()
    keys = yaml_io.parse(_content(migration).encode(), "the migrated configuration") or {}
    name = keys.pop(BASE, None)
    base = load(FOLDER / f"{name}{SUFFIX}", components=known) if name else {}
    if canonical_of(merge(base, keys), known) != canonical_of(translated, known):
        raise PpzooError("the migrated configuration is not equal to its source; please report this with the file")
