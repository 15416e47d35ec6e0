"""The commands that carry out a configuration: train, eval, infer, export, check."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ppzoo.cli.streams import is_utf8_output
from ppzoo.errors import ConfigError, PpzooError, one_line, printable
from ppzoo.files import expand_user, weights_of_run
from ppzoo.native import env_settings

if TYPE_CHECKING:
    from ppzoo.config import Config

SCRIPTS = {"train": "train.py", "eval": "eval.py", "infer": "infer.py", "export": "export_model.py"}  # in tools/


def add_commands(commands) -> None:
    train = _configured(commands, "train", _train, "train a network")
    train.add_argument(
        "--resume", type=expand_user, metavar="auto|PREFIX", help="go on from a checkpoint; auto: the newest of the run"
    )
    _configured(commands, "eval", _eval, "evaluate the weights Global.pretrained_model")
    infer = _configured(commands, "infer", _infer, "say what images show", needs_config=False)
    infer.add_argument(
        "images", nargs="*", type=expand_user, help="files, folders or patterns; Infer.infer_imgs by default"
    )
    infer.add_argument(
        "--weights", type=expand_user, metavar="FILE", help="a .safetensors of `export`; needs no configuration"
    )
    infer.add_argument("--json", action="store_true", help="print one JSON object an image")
    export = _configured(commands, "export", _export, "export the weights Global.pretrained_model for serving")
    export.add_argument(
        "--format",
        choices=("program", "safetensors"),
        default="program",
        help="a program to serve (default), or the weights alone with all that there is to know about them",
    )
    _configured(commands, "check", _check, "name every mistake of a configuration, without touching its data")


def _configured(commands, name: str, run, description: str, needs_config: bool = True) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=description, description=description)
    command.add_argument(
        "-c", "--config", type=expand_user, required=needs_config, help="the configuration, a YAML file"
    )
    command.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="set one entry of the configuration; may be given several times",
    )
    command.add_argument("--device", metavar="cpu|gpu[:N]", help="what computes; goes before Global.device")
    command.set_defaults(run=run)
    return command


def _overrides(options: argparse.Namespace) -> list[str]:
    return [*options.override, *([f"Global.device={options.device}"] if options.device else [])]


def _train(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    config = builders.read_config(options.config, _overrides(options), "train")
    with builders.join_processes(config) as processes:
        folder, trainer = builders.build_trainer(config, options.resume, processes)
        if env_settings.read_applied_settings():
            logging.getLogger("ppzoo").info("this process runs with %s", env_settings.read_applied_settings())
        builders.fit_with_rollback(config, folder, trainer, options.resume, processes)
    if processes.is_main:
        _say_what_is_next(config, folder)


def _say_what_is_next(config: Config, folder: Path) -> None:
    weights = weights_of_run(folder)
    if weights is None:
        return
    use = f"-c {quote(str(folder / 'config.yaml'))} -o {quote(f'Global.pretrained_model={weights}')}"
    print(printable(f"\nThe weights, the log and the curves are in {folder}"))
    print("What to do next:")
    if config.Infer.transforms:
        print(printable(f"  {_typed('infer')} {use} PHOTO_OR_FOLDER"))
        print(printable(f"  {_typed('export')} {use}"))
    else:
        print("  give the configuration Infer.transforms, which infer and export need")


def _typed(command: str) -> str:
    """How a command is typed by who started this process: `ppzoo COMMAND`, or the script beside the one that runs."""
    script = Path(sys.argv[0])
    if script.name in SCRIPTS.values():
        return f"{_short('python', sys.executable)} {quote(str(script.with_name(SCRIPTS[command])))}"
    return f"{_short('ppzoo', sys.argv[0] if script.name == 'ppzoo' else 'ppzoo')} {command}"


def _short(name: str, path: str) -> str:
    """The name of a program where the shell finds `path` by it, else the path."""
    found = shutil.which(name)
    return name if found and os.path.realpath(found) == os.path.realpath(path) else quote(path)


def _eval(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    config = builders.read_config(options.config, _overrides(options), "eval")
    with builders.join_processes(config) as processes:
        figures = builders.evaluate(config, processes)
    if processes.is_main:
        print(report.format_metrics(figures))


def _infer(options: argparse.Namespace) -> int:
    from ppzoo import builders, report

    report.log_to_console()
    if (options.config is None) == (options.weights is None):
        raise ConfigError("infer: expected either -c CONFIG or --weights FILE")
    if options.weights and options.override:
        raise ConfigError("infer: expected -o together with -c CONFIG, got it with --weights")
    if options.weights:
        config = builders.config_of_weights(options.weights, options.images, device=options.device or "auto")
    else:
        config = builders.read_config(options.config, _overrides(options), "infer")
        if options.images:  # not as an override, for their names need not be YAML
            config = config.with_images(options.images)
    failures = 0
    for file, answer in builders.predict(config):
        if isinstance(answer, PpzooError):
            failures += 1
            print(f"error: {answer}", file=sys.stderr)
        elif options.json:
            print(printable(json.dumps({"file_name": str(file), **answer}, ensure_ascii=not is_utf8_output())))
        else:
            pairs = zip(answer["label_names"], answer["scores"], strict=True)
            print(one_line(f"{file}: " + ", ".join(f"{name} {score:.3f}" for name, score in pairs)))
    return PpzooError.exit_status if failures else 0


def _export(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    config = builders.read_config(options.config, _overrides(options), "export")
    if options.format == "safetensors":
        file = builders.export_weights(config)
        print(printable(f"exported to {file}"))
        print(printable(f"What to do next:\n  {_typed('infer')} --weights {quote(str(file))} PHOTO_OR_FOLDER"))
        return
    folder, difference = builders.export_model(config)
    print(printable(f"exported to {folder}; it answers what the network answers, to {difference:.1e}"))
    print("What to do next, in Python:")
    print(printable(f'  import ppzoo; ppzoo.Predictor({str(folder)!r}).predict("photo.jpg")'))


def _check(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    builders.dry_run_config(options.config, _overrides(options))
    print(f"{options.config}: no mistakes found")
