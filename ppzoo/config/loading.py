"""Load a configuration file with its bases and the command line's overrides as one plain mapping.

`_BASE_` names one file or a list of files, relative to the file that contains it or by their names in the package
(`packaged_configs`); `~` is the home folder. Bases are merged in their order and the file itself comes last: mappings
merge key by key, lists and all other values replace. Overrides are applied after that. Where a file or an override
names another component, options that only the previous one has are dropped (`replaced`). Keys of a file that only hold
YAML anchors for its other keys are not part of the configuration.
"""

from __future__ import annotations

import copy
import logging
import os
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ppzoo.config import packaged_configs
from ppzoo.config.component_types import Components
from ppzoo.config.hints import restore_switches
from ppzoo.config.overrides import override
from ppzoo.config.path_checks import suggest_path
from ppzoo.config.renamed import rename_keys
from ppzoo.config.replaced import replaced_options, without
from ppzoo.config.schema import Sections
from ppzoo.config.section import known_keys
from ppzoo.errors import ConfigError, ConfigFileError, nearest_name
from ppzoo.files import RUN_CONFIG, open_plain_file
from ppzoo.yaml_io import MAX_BYTES, parse_document

logger = logging.getLogger("ppzoo")

BASE = "_BASE_"
MAX_CHAIN = 16


def load(
    path: str | os.PathLike[str], overrides: Iterable[str] = (), components: Components | None = None
) -> dict[str, Any]:
    """Return the configuration of `path` and its bases, changed by `overrides` such as "Arch.class_num=10".

    Args:
        components: as for `validate.check`; the types of their options decide how overrides are read. Without them
            only the types of the fixed part of the schema are known.

    Raises:
        ConfigError: a file that is missing, unreadable or not a YAML mapping, circular bases, or an override that does
            not fit the configuration; each in one line.
    """
    file = packaged_configs.find_config(path)
    _require_no_folder(Path(path), file)
    return apply_overrides(_with_bases(file, (), {}, components or {}), overrides, components)


def apply_overrides(
    raw: Mapping[str, Any], overrides: Iterable[str] = (), components: Components | None = None
) -> dict[str, Any]:
    """Return a copy of the plain configuration `raw` changed by `overrides`; see `load` for the other arguments."""
    raw = rename_keys(raw, components or {})
    config = copy.deepcopy(raw)  # the overrides change it in place
    overrides = list(overrides)
    override(config, *overrides, components=components)
    config = rename_keys(config, components or {}, raw)
    given = {text.partition("=")[0].strip() for text in overrides}
    replaced = [path for path in replaced_options(raw, config, components or {}) if not _is_in(path, given)]
    if replaced:
        logger.info("ignoring options of the component that -o replaces: %s", ", ".join(map(".".join, replaced)))
    config = without(config, replaced)
    restore_switches(config, components or {})
    return config


def _is_in(path: tuple[str, ...], given: Collection[str]) -> bool:
    """Return whether the value at a path, or a mapping that contains it, is among the given key paths."""
    return any(".".join(path[:length]) in given for length in range(1, len(path) + 1))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with the entries of `above` merged into it, recursively for mappings."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _merge_into(below: Mapping[str, Any], above: Mapping[str, Any], components: Components) -> dict[str, Any]:
    """Return the merged mappings, without options that only a component has that `above` replaces (`replaced_options`).

    Keys with PaddleClas's names get their names here (`rename_keys`).
    """
    merged = merge(without(below, replaced_options(below, above, components)), above)
    return rename_keys(merged, components, below)


def _with_bases(
    path: Path, chain: tuple[Path, ...], done: dict[str, dict[str, Any]], components: Components
) -> dict[str, Any]:
    """Return the file merged into its bases.

    Args:
        chain: the files that lead to this one, each a base of the previous one.
        done: the results for the files that were read already.
        components: as for `load`.
    """
    trail = " -> ".join(str(file) for file in (*chain, path))
    resolved = os.path.abspath(path)
    if resolved in map(os.path.abspath, chain):
        raise ConfigError(f"{BASE}: expected no cycle, got {trail}; remove one of these references")
    if len(chain) >= MAX_CHAIN:
        raise ConfigError(f"{trail}: expected at most {MAX_CHAIN} files in a chain of {BASE}")
    if resolved not in done:
        content = _read(path, chain[-1] if chain else None)
        bases = _bases(content.pop(BASE, []), path)
        merged: dict[str, Any] = {}
        for base in bases:
            inherited = _with_bases(packaged_configs.find_base(base, path), (*chain, path), done, components)
            merged = _merge_into(merged, inherited, components)
        done[resolved] = _merge_into(merged, content, components)
    return done[resolved]


def _require_no_folder(source: Path, file: Path) -> None:
    """Refuse a folder as a configuration file, such as a folder of images.

    Args:
        source: the path or name that the user gave.
        file: the file that `find_config` returned for it.

    Raises:
        ConfigFileError: `source` is a folder, and its name is not that of a configuration that can be trained.
    """
    if not os.path.isdir(source) or (file != source and packaged_configs.BASES not in file.parts):
        return
    config = source / RUN_CONFIG
    shown = shlex.quote(str(config if config.is_file() else source))
    fix = (
        f"use {shown}" if config.is_file() else f"`ppzoo train --arch NAME --data {shown}` trains on images in a folder"
    )
    raise ConfigFileError(f"expected a YAML file or the name of a configuration, got the folder {source}; {fix}")


def _bases(value: Any, path: Path) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{path}: expected {BASE} to be a path or a list of paths, got {value!r:.60}")
    return names


def _read(path: Path, parent: Path | None) -> dict[str, Any]:
    """Return the content of a file; `parent` is the file that names it as its base."""
    shown = str(path) if parent is None else f"{path}, the {BASE} of {parent}"
    try:
        with open_plain_file(path) as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigFileError(f"no configuration file {shown}{_suggest(path, parent)}") from None
    except OSError as error:
        reason = error.strerror or error
        raise ConfigFileError(f"cannot read the configuration file {shown}: {reason}") from None
    try:
        content, anchor_keys = parse_document(text, str(path))
    except ConfigError as error:
        raise ConfigFileError(*error.problems) from error
    if not isinstance(content, dict):
        kind = "text" if isinstance(content, str) else "list" if isinstance(content, list) else "value"
        found = "nothing" if content is None else f"the {kind} {content!r:.60}"
        raise ConfigFileError(f"{path}: expected a mapping of sections such as Global and Arch, got {found}")
    return _without_anchors(content, anchor_keys)


def _without_anchors(content: dict[str, Any], anchor_keys: Collection[str]) -> dict[str, Any]:
    """Return a file's content without the keys that only hold YAML anchors, such as `size: &size 224` for `*size`.

    Such a key is not the name of a section, and its value has or contains an anchor. A key that is similar to the name
    of a section that the file lacks is kept, since it is probably a misspelled section.
    """
    sections = known_keys(Sections)
    missing = sections.keys() - content.keys()
    is_anchor = {key: key not in sections and nearest_name(key, missing) is None for key in anchor_keys}
    return {key: value for key, value in content.items() if not is_anchor.get(key)}


def _suggest(path: Path, parent: Path | None) -> str:
    """Return '; did you mean X?' for a file that does not exist: the nearest file in its folder, else a packaged name.

    Without a similar name, return that the folder does not exist, or the command that lists all names. The name of a
    packaged configuration that differs only in case is preferred to a file.
    """
    suffix = packaged_configs.SUFFIX if path.suffix in ("", ".yml") else path.suffix
    start = "the current folder" if parent is None else "the folder of the file that names them"
    file, name = suggest_path(path, suffix=suffix, start=start), packaged_configs.nearest_name(path)
    if "did you mean" in file and not (name and Path(name).name.lower() == path.name.lower()):
        name = None
    return (
        f"; did you mean {name!r}? (`ppzoo configs` lists all names)"
        if name
        else file or "; `ppzoo configs` lists all names"
    )
