"""The configurations in the package, found by name: `lenet`, `imagenet/ResNet/ResNet50`, `photos`.

A name is the path of a file relative to `ppzoo/configs`; its suffix `.yaml` can be omitted, and so can `_base_/` at its
start. A path to an existing file always takes precedence over a name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

from ppzoo.errors import nearest_text
from ppzoo.files import expand_user, is_url, local_path

FOLDER = Path(__file__).parent.parent / "configs"
LINK = "configs"  # the link to FOLDER in a clone; Git can write it as a text file on Windows
BASES = "_base_"
SUFFIX = ".yaml"


def config_names(*, bases: bool = False) -> list[str]:
    """Return the sorted names of the package's configurations that can be trained; `bases`: of those in `_base_`."""
    names = (file.relative_to(FOLDER).with_suffix("").as_posix() for file in FOLDER.rglob(f"*{SUFFIX}"))
    return sorted(name for name in names if (BASES in name.split("/")) == bases)


def find_config(source: str | os.PathLike[str]) -> Path:
    """Return the file of `source`, a path or a name; if there is no such file, return `source` as a path.

    Raises:
        ConfigError: `source` is a URL, or contains a NUL character.
    """
    path = local_path(source, "the configuration file")
    return path if os.path.isfile(path) else find_packaged(source) or path


def find_base(source: str, path: Path) -> Path:
    """Return the file that `_BASE_: source` means in the file `path`: relative to its folder, or a name.

    If there is no such file, the path relative to the folder is returned.
    """
    relative = path.parent / expand_user(source)
    return relative if os.path.isfile(relative) else find_packaged(source) or relative


def find_packaged(source: str | os.PathLike[str]) -> Path | None:
    """Return the file of a name, or of a path that begins with `configs/`; None if the package has no such file."""
    name = PurePath(source)
    if name.is_absolute() or ".." in name.parts or is_url(source) or "\0" in str(source):
        return None
    if name.parts[:1] == (LINK,):
        name = PurePath(*name.parts[1:])
    folders = (FOLDER, FOLDER / BASES)
    files = (folder / f"{name}{suffix}" for folder in folders for suffix in ("", SUFFIX))
    return next((file for file in files if file.suffix == SUFFIX and os.path.isfile(file)), None)


def nearest_name(path: Path) -> str | None:
    """Return the name of the configuration whose last part is the most similar to the name of the file `path`."""
    names = {name.rpartition("/")[2].lower(): name for name in reversed(config_names() + config_names(bases=True))}
    near = nearest_text(path.name.removesuffix(SUFFIX).lower(), names)
    return names[near] if near else None


def read_description(file: Path) -> str:
    """Return the first sentence of the comment at the start of a file, without the line of its command; '' if none."""
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    text = " ".join(line for line in lines if not line.startswith("ppzoo "))
    return re.split(r"(?<=\.) (?=[A-Z(])", text)[0]
