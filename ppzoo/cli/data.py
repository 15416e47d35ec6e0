"""The commands about data: split a folder into lists, check the images of a configuration."""

from __future__ import annotations

import argparse
import os

from ppzoo.cli.arguments import Commands, add_override, add_quiet
from ppzoo.errors import ConfigError, errors_with_key, printable
from ppzoo.files import expand_user


def add_commands(commands: Commands) -> None:
    data = commands.add_parser(
        "data",
        help="split a folder of images, or check a dataset",
        description="Split a folder of images, or check a dataset.",
    )
    actions = data.add_subparsers(required=True, metavar="ACTION")

    split = actions.add_parser(
        "split",
        help="split a folder into training and evaluation lists",
        description="Write train_list.txt, val_list.txt and label_list.txt into FOLDER.",
    )
    split.add_argument(
        "folder", type=expand_user, metavar="FOLDER", help="a folder with one subfolder of images per class"
    )
    split.add_argument(
        "--val",
        type=float,
        default=0.2,
        metavar="FRACTION",
        help="fraction of each class used for evaluation (default: 0.2)",
    )
    split.add_argument("--seed", type=int, default=0, help="seed of the random split (default: 0)")
    split.add_argument("--overwrite", action="store_true", help="replace existing lists")
    split.set_defaults(run=_split, needs_paddle=False)

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


def _split(options: argparse.Namespace) -> None:
    from ppzoo.data import split_folder

    if not 0 < options.val < 1:
        raise ConfigError(f"--val: expected a number above 0 and below 1, got {options.val:g}")
    if options.seed < 0:
        raise ConfigError(f"--seed: expected an integer of at least 0, got {options.seed}")
    if not os.path.isdir(options.folder):
        raise ConfigError(f"FOLDER: expected a folder with one subfolder per class, got {str(options.folder)!r}")
    with errors_with_key("FOLDER"):
        done = split_folder(options.folder, val_fraction=options.val, seed=options.seed, overwrite=options.overwrite)
    print(printable(done.text()))


def _check(options: argparse.Namespace) -> int:
    from ppzoo import builders

    config = builders.read_config(options.config, options.override, "train")
    sound = True
    for text, is_sound in builders.inspect_data(config):
        print(printable(text))
        sound = sound and is_sound
    return 0 if sound else 2
