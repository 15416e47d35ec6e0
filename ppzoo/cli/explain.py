"""The commands `explain` (Grad-CAM pictures of images) and `embed` (features of images, and similar images)."""

from __future__ import annotations

import argparse
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppzoo.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_quiet,
    config_and_overrides,
    is_export,
    parse_integer,
    require_no_network_folder,
)
from ppzoo.cli.output_folder import check_output, output_errors
from ppzoo.cli.streams import print_error
from ppzoo.errors import ConfigError, DataError, PpzooError, count_text, one_line
from ppzoo.files import describe_absence, expand_user, make_folder, write_atomically

if TYPE_CHECKING:
    import numpy as np

    from ppzoo.builders import ExportedModel
    from ppzoo.config import Config

FOLDER = "explanations"
TOP = 5
HIDDEN = {
    "Cc",
    "Cf",
    "Cn",
    "Co",
    "Cs",
    "Zl",
    "Zp",
}  # Unicode categories: control characters, line ends, surrogates, ...
MAX_NAME_BYTES = 100  # of the photo's and of the class's part of a file name, which can have 255 bytes


def add_commands(commands: Commands) -> None:
    explain = add_command(
        commands, "explain", _explain, "draw which pixels of images raise the score of a class (Grad-CAM)"
    )
    _add_inputs(explain)
    explain.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME_OR_INDEX",
        help="the class to explain (default: the predicted class of each image)",
    )
    explain.add_argument(
        "--output",
        type=expand_user,
        default=FOLDER,
        metavar="FOLDER",
        help=f"the folder for the pictures (default: {FOLDER} in the current folder)",
    )

    embed = add_command(commands, "embed", _embed, "compute the features of images, or find similar images")
    _add_inputs(embed)
    embed.add_argument(
        "--output",
        type=expand_user,
        metavar="FILE.npz",
        help="the NumPy file to write, with features, files, and labels (the name of each image's folder)",
    )
    embed.add_argument(
        "--like", type=expand_user, metavar="IMAGE", help="print the images that are most similar to this one"
    )
    embed.add_argument(
        "--top", type=parse_integer, metavar="N", help=f"number of similar images to print (default: {TOP})"
    )


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs",
        nargs="+",
        type=expand_user,
        metavar="IMAGE",
        help="image files, folders or patterns; without -c, the first argument is the network: the folder of a run,"
        " such as output/LeNet, or of an export",
    )
    command.usage = f"{command.prog} [options] (RUN_FOLDER | EXPORT_FOLDER | -c CONFIG) IMAGE [IMAGE ...]"
    add_config_arguments(command)
    add_quiet(command)


def _read_inputs(options: argparse.Namespace) -> tuple[Config, list[Path], ExportedModel | None]:
    """Return the configuration, the image files, and the export, or None if the network is not an export."""
    from ppzoo import builders

    folder, images = None, options.inputs
    if options.config is None:
        folder, *images = options.inputs
        if not images:
            raise ConfigError(
                f"{options.command}: expected RUN_FOLDER, EXPORT_FOLDER or -c CONFIG, and images, got only {folder}"
            )
        if is_export(folder):
            if options.override:
                raise ConfigError(
                    f"{options.command}: expected -o together with a run folder or -c CONFIG, got it with"
                    " an export folder"
                )
            files = builders.find_images(images, key="IMAGE")
            export = builders.open_export(Path(folder))
            return builders.config_of_export(export, options.device or "auto"), files, export
    else:
        require_no_network_folder(options.command, images, "-c CONFIG")
    config = builders.read_config(*config_and_overrides(options, folder), "infer")
    return config, builders.find_images(images, key="IMAGE"), None


def _explain(options: argparse.Namespace) -> int:
    from ppzoo import builders, report

    report.log_to_console()
    folder = check_output(options.output)
    config, files, export = _read_inputs(options)
    names, failures = _PictureNames(folder, files), 0
    for file, explanation in builders.explain_images(config, files, options.class_name, export):
        if isinstance(explanation, DataError):
            failures += 1
            _print_failure(explanation)
            continue
        picture = folder / names.choose(file, explanation.label)
        with output_errors(folder):
            make_folder(folder)
            _write_png(picture, explanation.picture)
        print(one_line(f"{file}: {explanation.label} {explanation.score:.2f} -> {picture}"))
    return PpzooError.exit_status if failures else 0


class _PictureNames:
    """Chooses a file name for each picture that differs from the names of the other pictures and of the images."""

    def __init__(self, folder: Path, images: Iterable[Path]) -> None:
        own = os.path.realpath(folder)
        paths = [os.path.split(os.path.realpath(image)) for image in images]
        self.taken = {_comparable(name) for parent, name in paths if parent == own}

    def choose(self, image: Path, label: str) -> str:
        name = f"{_safe(image.stem)}-{_safe(label)}"
        number = 1
        while _comparable(candidate := f"{name}.png" if number == 1 else f"{name}-{number}.png") in self.taken:
            number += 1
        self.taken.add(_comparable(candidate))
        return candidate


def _comparable(name: str) -> str:
    """Return a form of a name that is equal for all names that a file system can treat as the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _safe(text: str) -> str:
    """Return a part of a file name: control characters, and those that a system does not allow, become '_'."""
    visible = "".join("_" if unicodedata.category(one) in HIDDEN else one for one in text)
    plain = re.sub(r'[/\\:*?"<>|]', "_", visible).strip(". ")
    return plain.encode()[:MAX_NAME_BYTES].decode(errors="ignore") or "_"


def _write_png(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    image = Image.fromarray(picture)
    write_atomically(path, lambda file: image.save(file, "PNG"))


def _print_failure(error: DataError) -> None:
    print_error(f"error: {error}")


def _embed(options: argparse.Namespace) -> int:
    from ppzoo import builders, report

    report.log_to_console()
    _check_embed_options(options)
    config, files, export = _read_inputs(options)
    like = [Path(options.like)] if options.like is not None else []
    results = builders.embed_images(config, [*like, *files], export)
    query = next(results)[1] if like else None
    if isinstance(query, DataError):
        query.add_key("--like")
        raise query
    kept: list[Path] = []
    features: list[np.ndarray] = []
    for file, result in results:
        if isinstance(result, DataError):
            _print_failure(result)
        else:
            kept.append(file)
            features.append(result)
    if features:
        _print_results(options, kept, features, query)
    return 0 if len(kept) == len(files) else PpzooError.exit_status


def _check_embed_options(options: argparse.Namespace) -> None:
    if options.output is None and options.like is None:
        raise ConfigError("embed: expected --output FILE.npz, --like IMAGE or both, got neither")
    if options.top is not None and options.like is None:
        raise ConfigError("embed: expected --top together with --like IMAGE, got it alone")
    if options.like is not None and not os.path.isfile(options.like):
        found = "which is a folder" if os.path.isdir(options.like) else f"which {describe_absence(options.like)}"
        raise ConfigError(f"--like: expected an image, got {options.like!r}, {found}")
    if options.top is not None and options.top < 1:
        raise ConfigError(f"--top: expected at least 1, got {options.top}")
    if options.output is not None:
        if not options.output.endswith(".npz") or os.path.isdir(options.output):
            raise ConfigError(f"--output: expected a file with a name that ends in .npz, got {options.output!r}")
        folder, name = os.path.split(options.output)
        check_output(folder or ".", name)


def _print_results(
    options: argparse.Namespace, files: list[Path], features: list[np.ndarray], query: np.ndarray | None
) -> None:
    """Write the file of --output, and print the images that are similar to that of --like."""
    import numpy as np

    from ppzoo import builders

    table = np.stack(features)
    if options.output is not None:
        arrays: dict[str, Any] = {
            "features": table,
            "files": np.array([str(file) for file in files]),
            "labels": np.array([os.path.basename(os.path.dirname(os.path.abspath(file))) for file in files]),
        }
        with output_errors(options.output):
            make_folder(Path(options.output).parent)
            write_atomically(options.output, lambda file: np.savez(file, **arrays))
        print(one_line(f"{count_text(len(table), 'image')}, {table.shape[1]} features each: {options.output}"))
    if query is not None:
        for file, similarity in builders.rank_similar(files, table, Path(options.like), query, options.top or TOP):
            print(one_line(f"{file}: {similarity:.3f}"))
