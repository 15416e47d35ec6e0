"""The commands that carry out a configuration: train, eval, infer, export, check."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from ppzoo.cli.streams import is_utf8_output
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.native import process


def add_commands(commands) -> None:
    train = _configured(commands, "train", _train, "train a network")
    train.add_argument("--resume", metavar="auto|PREFIX", help="go on from a checkpoint; auto: the newest of the run")
    _configured(commands, "eval", _eval, "evaluate the weights Global.pretrained_model")
    infer = _configured(commands, "infer", _infer, "say what images show", needs_config=False)
    infer.add_argument("images", nargs="*", help="files, folders or patterns; Infer.infer_imgs by default")
    infer.add_argument("--weights", metavar="FILE", help="a .safetensors of `export`; needs no configuration")
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
    command.add_argument("-c", "--config", required=needs_config, help="the configuration, a YAML file")
    command.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="set one entry of the configuration; may be given several times",
    )
    command.set_defaults(run=run)
    return command


def _train(options: argparse.Namespace) -> None:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "train")
    with build.processes(config) as processes:
        folder, trainer = build.training(config, options.resume, processes)
        if process.chosen_settings():
            logging.getLogger("ppzoo").info("this process runs with %s", process.chosen_settings())
        build.fit(config, folder, trainer, options.resume, processes)
    if processes.first:
        _say_what_is_next(folder)


def _say_what_is_next(folder: Path) -> None:
    weights = folder / ("best_model" if (folder / "best_model.pdparams").exists() else "latest")
    use = f"-c {folder / 'config.yaml'} -o Global.pretrained_model={weights}"
    print(f"\nThe weights, the log and the curves are in {folder}")
    print("What to do next:")
    print(f"  python tools/infer.py {use} -o Infer.infer_imgs=PHOTO_OR_FOLDER")
    print(f"  python tools/export_model.py {use}")


def _eval(options: argparse.Namespace) -> None:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "eval")
    with build.processes(config) as processes:
        figures = build.evaluation(config, processes)
    if processes.first:
        print(report.figures_text(figures))


def _infer(options: argparse.Namespace) -> int:
    from ppzoo import build, report

    report.log_to_console()
    if (options.config is None) == (options.weights is None):
        raise ConfigError("infer: expected either -c CONFIG or --weights FILE")
    if options.weights and options.override:
        raise ConfigError("infer: expected -o together with -c CONFIG, received it with --weights")
    if options.weights:
        config = build.config_of_weights(options.weights, options.images, device="gpu")
    else:
        config = build.read_config(options.config, options.override, "infer")
        if options.images:  # not as an override, for their names need not be YAML
            config = {**config, "Infer": {**(config.get("Infer") or {}), "infer_imgs": options.images}}
    failures = 0
    for file, answer in build.inference(config):
        if isinstance(answer, PpzooError):
            failures += 1
            print(f"error: {answer}", file=sys.stderr)
        elif options.json:
            print(json.dumps({"file_name": str(file), **answer}, ensure_ascii=not is_utf8_output()))
        else:
            pairs = zip(answer["label_names"], answer["scores"], strict=True)
            print(f"{file}: " + ", ".join(f"{name} {score:.3f}" for name, score in pairs))
    return PpzooError.exit_status if failures else 0


def _export(options: argparse.Namespace) -> None:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "export")
    if options.format == "safetensors":
        file = build.export_weights(config)
        print(f"exported to {file}")
        print(f"What to do next:\n  ppzoo infer --weights {file} PHOTO_OR_FOLDER")
        return
    folder, difference = build.export(config)
    print(f"exported to {folder}; it answers what the network answers, to {difference:.1e}")
    print("What to do next, in Python:")
    print(f'  ppzoo.Predictor("{folder}").predict("photo.jpg")')


def _check(options: argparse.Namespace) -> None:
    from ppzoo import build

    build.rehearse(options.config, options.override)
    print(f"{options.config}: no mistakes found")
