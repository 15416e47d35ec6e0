"""The commands about data: split a folder into lists, check the images of a configuration."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ppzoo.cli.arguments import Commands, add_override, add_quiet, parse_integer, parse_number
from ppzoo.errors import ConfigError, OutputError, errors_with_fixes, errors_with_key, printable
from ppzoo.files import ARCHIVE_SUFFIXES, describe_absence, expand_user

SPREADSHEETS = (".xls", ".xlsx", ".ods")
COLUMN_OPTIONS = {
    r"set dataset\.path_column": "name it with --path-column",
    r"set dataset\.label_column": "name it with --label-column",
    r"correct dataset\.image_root": "correct --image-root",
}

if TYPE_CHECKING:
    from ppzoo.data import ImageFolder, ImageNetDataset


def add_commands(commands: Commands) -> None:
    data = commands.add_parser(
        "data",
        help="split a folder of images, or check a dataset",
        description="Split a folder of images, or check a dataset.",
    )
    actions = data.add_subparsers(required=True, metavar="ACTION")

    _add_split(actions)
    check = actions.add_parser(
        "check",
        help="check the images that a configuration reads",
        description="Decode every image that a configuration reads; report unreadable, duplicate and unusual images.",
    )
    check.add_argument(
        "config",
        type=expand_user,
        metavar="CONFIG",
        help="a YAML file, or the name of an included configuration (`ppzoo configs` lists them)",
    )
    add_override(check)
    add_quiet(check)
    check.set_defaults(run=_check)


def _add_split(actions: Commands) -> None:
    split = actions.add_parser(
        "split",
        help="split images into training and evaluation lists, or into folds",
        description="Write train_list.txt, val_list.txt and, if the classes have names, label_list.txt; with --folds,"
        " one pair of lists per fold.",
    )
    split.set_defaults(run=_split, needs_paddle=False)
    split.add_argument(
        "source",
        type=expand_user,
        metavar="FOLDER_OR_LIST",
        help="a folder with one subfolder of images per class, or a list file (.txt, .csv or .parquet)",
    )
    split.add_argument(
        "--val", type=parse_number, metavar="FRACTION", help="fraction of each class used for evaluation (default: 0.2)"
    )
    split.add_argument("--seed", type=parse_integer, default=0, help="seed of the random split (default: 0)")
    split.add_argument("--overwrite", action="store_true", help="replace existing lists")
    split.add_argument(
        "--output",
        type=expand_user,
        metavar="FOLDER",
        help="folder of the lists (default: the folder of the images or of the list file; with --folds: a new"
        " folder next to FOLDER_OR_LIST, with _folds added to its name, such as photos_folds for photos)",
    )
    table = split.add_argument_group("list files")
    table.add_argument(
        "--image-root",
        type=expand_user,
        metavar="FOLDER",
        help="folder that the paths in the list are relative to (default: that of the list)",
    )
    table.add_argument("--path-column", metavar="NAME", help="column of the paths (default: path, image, file, ...)")
    table.add_argument("--label-column", metavar="NAME", help="column of the labels (default: label, class, ...)")
    folds = split.add_argument_group("cross-validation")
    folds.add_argument(
        "--folds", type=parse_integer, metavar="K", help="write fold_1/train_list.txt, fold_1/val_list.txt, ..."
    )
    folds.add_argument(
        "--test",
        type=parse_number,
        metavar="FRACTION",
        help="write this fraction of the images to test_list.txt, and put them into no fold",
    )
    folds.add_argument(
        "--group-by",
        metavar="COLUMN",
        help="column of a .csv or .parquet list; images with the same value are in the same fold",
    )
    folds.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="instead of --group-by: regular expression that is searched in the path of each image; images with the"
        " same text in its first parentheses are in the same fold",
    )


def _split(options: argparse.Namespace) -> None:
    _require_split_options(options)
    if options.folds is not None:
        _split_folds(options)
        return
    from ppzoo.data import split_folder, write_split

    fraction = 0.2 if options.val is None else options.val
    if os.path.isdir(options.source) and options.output is None:
        try:
            with errors_with_key("FOLDER_OR_LIST"):
                done = split_folder(
                    options.source, val_fraction=fraction, seed=options.seed, overwrite=options.overwrite
                )
        except OSError as error:
            unwritable = OutputError(error.filename or options.source, error)
            unwritable.rewrite("{}: write the lists to another folder with --output FOLDER".format)
            raise unwritable from error
    else:
        data = _open_images(options)
        folder = Path(options.output or os.path.dirname(os.path.abspath(options.source)))
        try:
            _require_no_lists(folder, options)
            with _errors_of_list():
                done = write_split(data, folder, val_fraction=fraction, seed=options.seed)
        except OSError as error:
            raise OutputError(folder, error, "--output") from error
    print(printable(done.text()))


def _require_split_options(options: argparse.Namespace) -> None:
    """Check that the options are in range and fit together.

    Raises:
        ConfigError: they do not.
    """
    if options.val is not None and not 0 < options.val < 1:
        raise ConfigError(f"--val: expected a number above 0 and below 1, got {options.val:g}")
    if options.seed < 0:
        raise ConfigError(f"--seed: expected an integer of at least 0, got {options.seed}")
    _require_source(options.source)
    if options.output is not None and os.path.isfile(options.output):
        raise ConfigError(f"--output: expected a folder, got the file {options.output!r}")
    given = {"--test": options.test, "--group-by": options.group_by, "--group-pattern": options.group_pattern}
    if options.folds is None:
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name}: expected --folds together with it, got none: add --folds K")
    elif options.val is not None:
        raise ConfigError(
            "--val: expected either --val or --folds, got both: each fold is evaluated on 1/K of the images"
        )
    if options.group_by is not None and options.group_pattern is not None:
        raise ConfigError("--group-by: expected either --group-by or --group-pattern, got both")
    if options.output is not None and os.path.isdir(options.source):
        source, output = os.path.realpath(options.source), os.path.realpath(options.output)
        if output.startswith(os.path.join(source, "")):  # it would be read as the folder of a class
            raise ConfigError(f"--output: expected a folder outside of {options.source!r}, got {options.output!r}")
    _require_list_for_its_options(options)


def _require_source(source: str) -> None:
    """Check that FOLDER_OR_LIST can be a folder of images or a list file."""
    from ppzoo.data import IMAGE_SUFFIXES

    expected = "FOLDER_OR_LIST: expected a folder with one subfolder per class, or a list file, got"
    if not os.path.exists(source):
        raise ConfigError(f"{expected} {source!r}, which {describe_absence(source)}")
    if source.lower().endswith(SPREADSHEETS):
        raise ConfigError(
            f"FOLDER_OR_LIST: expected a list file (.txt, .csv or .parquet), got {source!r}; save the table as"
            " CSV in UTF-8"
        )
    if source.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(source):
        raise ConfigError(f"{expected} the image {source!r}")
    if source.lower().endswith(ARCHIVE_SUFFIXES) and os.path.isfile(source):
        raise ConfigError(f"{expected} the archive {source!r}: extract it")


def _require_list_for_its_options(options: argparse.Namespace) -> None:
    """Check that the options about list files are given only if FOLDER_OR_LIST is a list file."""
    of_list = {"--image-root": options.image_root, "--path-column": options.path_column}
    of_list |= {"--label-column": options.label_column, "--group-by": options.group_by}
    if os.path.isdir(options.source):
        for name, value in of_list.items():
            if value is not None:
                fix = ": use --group-pattern" if name == "--group-by" else ""
                raise ConfigError(
                    f"{name}: expected a list file as FOLDER_OR_LIST, got the folder {options.source!r}{fix}"
                )


def _open_images(options: argparse.Namespace) -> ImageFolder | ImageNetDataset:
    """Return the images of the folder or list."""
    from ppzoo.data import ImageFolder, ImageNetDataset, is_table, read_columns

    with _errors_of_list():
        if os.path.isdir(options.source):
            return ImageFolder(image_root=options.source)
        columns = read_columns(options.source) if is_table(options.source) else None
    for option, name in (("--path-column", options.path_column), ("--label-column", options.label_column)):
        if name is not None:
            _require_column(option, name, columns, options.source)
    if options.image_root is not None and not os.path.isdir(options.image_root):
        raise ConfigError(
            f"--image-root: expected a folder of images, got {options.image_root!r}, which is not a folder"
        )
    with _errors_of_list():
        return ImageNetDataset(
            image_root=options.image_root or os.path.dirname(options.source) or ".",
            cls_label_path=options.source,
            path_column=options.path_column,
            label_column=options.label_column,
        )


def _require_no_lists(folder: Path, options: argparse.Namespace) -> None:
    """Check that no list is replaced without --overwrite, and never the list that is split."""
    from ppzoo.data import LABEL_LIST, TRAIN_LIST, VAL_LIST

    for path in (folder / TRAIN_LIST, folder / VAL_LIST, folder / LABEL_LIST):
        if not path.exists():
            continue
        if path.samefile(options.source):
            raise ConfigError(
                f"--output: expected another folder: in this one, the list file {options.source!r} would be replaced"
            )
        if not options.overwrite:
            raise ConfigError(f"--output: {path} exists: remove it, or use --overwrite")


def _split_folds(options: argparse.Namespace) -> None:
    from ppzoo import data

    if options.folds < 2:
        raise ConfigError(f"--folds: expected 2 or more, got {options.folds}")
    images = _open_images(options)
    groups = None
    if options.group_by is not None:
        groups = _read_groups(options)
    elif options.group_pattern is not None:
        paths = [images.index.path(index) for index in range(len(images))]
        groups = data.groups_of_paths(paths, options.group_pattern)
    folder = _folds_folder(options)
    with errors_with_fixes(COLUMN_OPTIONS):
        done = data.write_folds(
            images,
            folder,
            folds=options.folds,
            test_fraction=options.test,
            groups=groups,
            seed=options.seed,
            overwrite=options.overwrite,
        )
    print(printable(done.text()))


@contextmanager
def _errors_of_list() -> Iterator[None]:
    """Let messages about the list begin with FOLDER_OR_LIST, and name options of the command as fixes."""
    from ppzoo.data import FIXES_WITHOUT_CONFIG

    with errors_with_key("FOLDER_OR_LIST"), errors_with_fixes(COLUMN_OPTIONS | FIXES_WITHOUT_CONFIG):
        yield


def _require_column(option: str, name: str, columns: list[str] | None, source: str) -> None:
    """Check that the column that an option names exists; `columns` are those of a table, None for another list."""
    if columns is None:
        fix = ": use --group-pattern" if option == "--group-by" else ""
        raise ConfigError(f"{option}: expected a .csv or .parquet list, got {source!r}, which has no columns{fix}")
    if name not in columns:
        shown = ", ".join(repr(column[:60]) for column in columns[:10])
        raise ConfigError(f"{option}: expected one of the columns {shown}, got {name!r:.80}")


def _folds_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the folds: --output, or by default NAME_folds next to the folder or list file NAME."""
    if options.output is not None:
        return Path(options.output)
    source = Path(os.path.normpath(options.source))
    if source.name in ("", ".."):
        source = Path(os.path.abspath(source))
    name = source.name if source.is_dir() else source.stem
    return source.with_name(f"{name}_folds")


def _read_groups(options: argparse.Namespace) -> list[str]:
    """Return the values of the column --group-by."""
    from ppzoo import data

    with _errors_of_list():
        columns = data.read_columns(options.source) if data.is_table(options.source) else None
    _require_column("--group-by", options.group_by, columns, options.source)
    with errors_with_key("--group-by"), errors_with_fixes(COLUMN_OPTIONS):
        table = data.read_table(
            options.source, path_column=options.path_column, label_columns=[options.group_by], several=True
        )
    return [values[0] for values in table.values]


def _check(options: argparse.Namespace) -> int:
    from ppzoo import builders

    config = builders.read_config(options.config, options.override, "train")
    sound = True
    for text, is_sound in builders.inspect_data(config):
        print(printable(text))
        sound = sound and is_sound
    return 0 if sound else 2
