"""Arguments that several commands share: the configuration, its overrides, the device, and a run's folder."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from ppzoo.cli.streams import print_error
from ppzoo.errors import ConfigError, errors_with_fixes, nearest_name, one_line
from ppzoo.files import EXPORT_SETTINGS, RUN_CONFIG, describe_absence, expand_user, require_readable, weights_of_run

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

RUN_HELP = (
    "the folder of a run, such as output/LeNet, whose configuration and best (or else latest) weights are used; or use"
    " -c CONFIG"
)
MAX_CHOICES = 8  # a message that suggests a choice also lists all choices if there are at most so many
_KEY_WITHOUT_OPTION = re.compile(r"--[A-Z]\w*\.\w|[A-Z]\w*\.\w[\w.]*=")  # --Global.epochs=3 or Global.epochs=3
_EARLIER_RUN = re.compile(r"\.earlier-[0-9]+\Z")  # the backup folder of a run that a later run replaced


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line; also the parser of each command."""

    def error(self, message: str) -> NoReturn:
        print_error(f"error: {one_line(message)}; see `{self.prog} --help`")
        self.exit(2)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Refuse unknown arguments here: the parser of the command knows which help to name.

        A list of arguments can be continued after an option, as in `ppzoo infer RUN --json PHOTO`, where argparse ends
        it at the first option.
        """
        parsed, unknown = super().parse_known_args(*arguments, **options)
        several = next((action for action in self._get_positional_actions() if action.nargs in ("*", "+")), None)
        if several is not None and unknown and not any(text.startswith(("-", "=")) for text in unknown):
            try:
                added = self._get_values(several, unknown)
            except argparse.ArgumentError as error:
                self.error(str(error))
            setattr(parsed, several.dest, [*getattr(parsed, several.dest), *added])
            unknown = []
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggest_fix(parsed, unknown)}")
        return parsed, unknown

    def _suggest_fix(self, parsed: argparse.Namespace, unknown: list[str]) -> str:
        file = next((text for text in unknown if text.startswith("-") and os.path.lexists(text)), None)
        if file is not None:
            return f"; write ./{file} for the file of that name"
        if unknown[0] in ("-c", "--config") and any(it.metavar == "CONFIG" for it in self._get_positional_actions()):
            return f"; write the configuration without {unknown[0]}"
        has_override = "--override" in self._option_string_actions
        cut = next((text for text in getattr(parsed, "override", []) if _open_brackets(text) > 0), None)
        if cut is not None and not unknown[0].startswith("--"):
            complete = " ".join([cut, *unknown])
            shown = "'KEY.PATH=VALUE'" if _open_brackets(complete) else shlex.quote(one_line(complete))
            return f"; put quotes around a value of -o that contains spaces: -o {shown}"
        without_value = next((text for text in getattr(parsed, "override", []) if "=" not in text), None)
        if without_value is not None and not unknown[0].startswith(("-", "=")):
            return f"; write -o {without_value}={unknown[0]}"
        if has_override and unknown[0].startswith("="):
            return "; write -o KEY.PATH=VALUE without spaces around ="
        key = next((text.lstrip("-") for text in unknown if _KEY_WITHOUT_OPTION.match(text)), None)
        if has_override and key:
            return f"; keys of the configuration are set with -o: -o {key}"
        given = next((it for it in self._get_positional_actions() if getattr(parsed, it.dest, None) is not None), None)
        if given is not None and given.nargs == "?" and not unknown[0].startswith("-"):
            return f"; expected a single {given.metavar}"
        if getattr(parsed, "config", "") is None and not unknown[0].startswith("-"):
            return f"; write -c before the name of a configuration: -c {unknown[0]}"
        name = next((text[2:].partition("=")[0] for text in unknown if text.startswith("--")), None)
        options = [text[2:] for text in self._option_string_actions if text.startswith("--")]
        if name and (near := nearest_name(name, options)):
            return f"; did you mean --{near}?"
        if has_override and name:
            return "; keys of the configuration are set with -o, such as -o Global.epochs=10"
        return ""

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Refuse an empty value, such as that of a shell variable that is not set, and a NUL character in a value."""
        if action.nargs == argparse.PARSER:  # the arguments of a command, which its own parser checks
            return super()._get_value(action, arg_string)
        if not arg_string:
            raise argparse.ArgumentError(action, "expected a value, got an empty text")
        if "\0" in arg_string and action.dest != "override":  # -o names the key
            message = f"expected a value, got {arg_string!r}, which contains a NUL character"
            raise argparse.ArgumentError(action, message)
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not one of `choices`, and suggest the most similar choice."""
        choices = [str(choice) for choice in action.choices or ()]
        near = nearest_name(value, choices)
        if near and value not in choices:
            shown = f" (choose from {', '.join(map(repr, choices))})" if len(choices) <= MAX_CHOICES else ""
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{shown}; did you mean {near!r}?")
        super()._check_value(action, value)


def parse_integer(text: str) -> int:
    """Return the integer of an option; unlike with `int`, the error message states what was expected."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, got {text!r:.60}") from None


def parse_number(text: str) -> float:
    """Return the number of an option; see `parse_integer`."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r:.60}") from None


class Run(NamedTuple):
    """A finished or interrupted run: its configuration, and its best (or else latest) weights without suffix."""

    config: Path
    weights: Path


def _open_brackets(text: str) -> int:
    """Return how many brackets and braces of a text are not closed."""
    return text.count("[") + text.count("{") - text.count("]") - text.count("}")


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int | None], description: str, **options: object
) -> argparse.ArgumentParser:
    """Add a command with one description, for the list of commands and for its own help."""
    command = commands.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
    command.set_defaults(run=run, **options)
    return command


def add_config_arguments(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add -c, -o and --device."""
    command.add_argument(
        "-c",
        "--config",
        type=expand_user,
        required=required,
        metavar="CONFIG",
        help="a YAML file, or the name of an included configuration (`ppzoo configs` lists them)",
    )
    add_override(command)
    command.add_argument(
        "--device",
        metavar="cpu|gpu[:N]",
        help="the device to compute on; an error if it is not available (default: Global.device of the configuration,"
        " or the CPU if PaddlePaddle has no CUDA support)",
    )


def add_photo_arguments(command: argparse.ArgumentParser, note: str = "") -> None:
    """Add --arch and --data, which replace -c; see `require_one_source`. `note` continues the help text of --data."""
    command.add_argument("--arch", metavar="NAME", help="instead of -c: the architecture (`ppzoo models` lists them)")
    command.add_argument(
        "--data",
        type=expand_user,
        metavar="FOLDER",
        help="with --arch: a list file, or a folder. The folder contains one of these: one subfolder of images per"
        " class; the folders train and val, each with such subfolders; the lists train_list.txt and val_list.txt"
        f"{note}",
    )


def require_one_source(options: argparse.Namespace) -> None:
    """Check that either -c is given, or both --arch and --data.

    Raises:
        ConfigError: neither is given, only one of --arch and --data is, or -c together with one of these.
    """
    command = options.command
    if options.config is not None and (options.arch or options.data):
        given = f"-c and {'--arch' if options.arch else '--data'}"
        raise ConfigError(f"{command}: expected either -c CONFIG, or --arch NAME with --data FOLDER, got {given}")
    if options.config is None and not (options.arch and options.data):
        got, missing = ("--data", "--arch NAME") if options.data else ("--arch", "--data FOLDER")
        if not (options.arch or options.data):
            raise ConfigError(f"{command}: expected -c CONFIG, or --arch NAME with --data FOLDER, got nothing")
        raise ConfigError(f"{command}: expected {missing} together with {got}, got {got} alone")


@contextmanager
def photo_errors(options: argparse.Namespace) -> Iterator[None]:
    """With --data, replace fixes that change a configuration file, in the errors that are raised inside."""
    if options.data is None:
        yield
        return
    from ppzoo.data import FIXES_WITHOUT_CONFIG

    with errors_with_fixes(FIXES_WITHOUT_CONFIG):
        yield


def add_override(command: argparse.ArgumentParser) -> None:
    """Add -o."""
    command.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="set one value of the configuration, such as Global.epochs=20; can be repeated",
    )


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    command.add_argument("--quiet", action="store_true", help="print only warnings, errors and the result")


def overrides(options: argparse.Namespace) -> list[str]:
    """Return the values of -o, followed by `Global.device=...` if --device is given."""
    return [*options.override, *([f"Global.device={options.device}"] if options.device else [])]


def require_device_of_option(options: argparse.Namespace) -> None:
    """Check the device of --device, if the command has that option and it is given.

    Raises:
        ConfigError, DeviceError: see `engine.require_device`.
    """
    if getattr(options, "device", None):
        from ppzoo import engine

        engine.require_device(options.device, "--device")


def config_and_overrides(options: argparse.Namespace, folder: str | None) -> tuple[str, list[str]]:
    """Return a configuration and its overrides: those of -c and -o, or the run's in `folder`, which select its weights.

    Raises:
        ConfigError: both are given, or neither; there is no single run in `folder`, or its path is not printable text.
    """
    takes_export = options.command in ("explain", "embed", "report", "infer")
    if folder is None and options.config is None:
        expected = "RUN_FOLDER, EXPORT_FOLDER or -c CONFIG" if takes_export else "either RUN_FOLDER or -c CONFIG"
        raise ConfigError(f"{options.command}: expected {expected}, got nothing")
    if folder is not None and options.config is not None:
        raise ConfigError(f"{options.command}: expected either RUN_FOLDER or -c CONFIG, got both")
    if folder is None:
        return options.config, overrides(options)
    from ppzoo.yaml_io import require_text  # needs PyYAML; `ppzoo doctor` works without it

    run = find_run(Path(folder), takes_export=takes_export)
    require_text(str(run.weights), "RUN_FOLDER")
    return str(run.config), [f"Global.pretrained_model={run.weights}", *overrides(options)]


def find_run(folder: Path, *, takes_export: bool = False) -> Run:
    """Return the run that `find_run_folder` finds, with its weights.

    Raises:
        ConfigError: there is no run, there are several, or the run has no weights yet.
    """
    run = find_run_folder(folder, takes_export=takes_export)
    weights = weights_of_run(run)
    if weights is None:
        raise ConfigError(
            f"RUN_FOLDER: expected weights (best_model.pdparams or latest.pdparams) in {run}, found none; resume its"
            " training, or use the folder of another run"
        )
    return Run(run / RUN_CONFIG, weights)


def find_run_folder(folder: Path, *, takes_export: bool = False) -> Path:
    """Return `folder` if it is a run's, else its only subfolder that is; runs in backup folders are ignored.

    Args:
        takes_export: whether the command also takes the folder of an export, for messages.

    Raises:
        ConfigError: there is no run, or there are several.
    """
    if not os.path.isdir(folder):
        found = "a file" if os.path.isfile(folder) else f"a path that {describe_absence(folder)}"
        fix = f"; use {folder.parent}" if os.path.isfile(folder.parent / RUN_CONFIG) else ""
        expected = "RUN_FOLDER: expected the folder of a run, such as output/LeNet"
        if takes_export:
            expected = "RUN_FOLDER or EXPORT_FOLDER: expected the folder of a run or of an export"
        raise ConfigError(f"{expected}, got {found}: {folder}{fix}")
    require_readable(folder, "RUN_FOLDER")
    runs = [folder]
    if not os.path.isfile(folder / RUN_CONFIG):
        runs = sorted(
            path.parent for path in folder.glob(f"*/{RUN_CONFIG}") if not _EARLIER_RUN.search(path.parent.name)
        )
    if not runs:
        found, fix = f"{_describe_export(folder)}{folder}", "; use the folder of a run, such as output/LeNet"
        expected = f"RUN_FOLDER: expected a folder in which training wrote {RUN_CONFIG}"
        if takes_export:
            expected = f"RUN_FOLDER or EXPORT_FOLDER: expected a folder with {RUN_CONFIG} (a run) or {EXPORT_SETTINGS}"
            expected += " (an export)"
            fix = "; use a folder that `ppzoo train` or `ppzoo export` wrote"
        if weights_of_run(folder) is not None:
            found, fix = f"{found}, which has weights, but no {RUN_CONFIG}", "; copy it from the folder of the run"
        raise ConfigError(f"{expected}, got {found}{fix}")
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs)
        raise ConfigError(
            f"RUN_FOLDER: expected the folder of one run, got {folder}, which contains the runs {names}; use one of"
            f" them, such as {runs[0]}"
        )
    return runs[0]


def is_export(folder: str | Path) -> bool:
    """Return whether a folder is that of an export."""
    return os.path.isfile(os.path.join(folder, EXPORT_SETTINGS))


def require_no_network_folder(command: str, inputs: list[str], option: str) -> None:
    """Check that the first of the images is not the folder of a run or export, which `option` replaces.

    Raises:
        ConfigError: it is; without this check the pictures in it, such as curves.png, would be used as images.
    """
    folder = inputs[0] if inputs else ""
    is_run = os.path.isfile(os.path.join(folder, RUN_CONFIG)) and weights_of_run(Path(folder)) is not None
    if folder and (is_run or is_export(folder)):
        kind = "RUN_FOLDER" if is_run else "EXPORT_FOLDER"
        raise ConfigError(f"{command}: expected either {kind} or {option}, got both: {folder}; remove one of them")


def _describe_export(folder: Path) -> str:
    """Return 'the export ' or 'an export without inference.yml: '; '' if the folder has no file of an export."""
    names = [file.name for file in folder.glob("inference.*")]
    if not names:
        return ""
    return "the export " if EXPORT_SETTINGS in names else f"an export without {EXPORT_SETTINGS}: "
