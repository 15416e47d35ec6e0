"""The command line: `ppzoo train|eval|infer|export|check|models`, and what `tools/*.py` call.

Exit status: 0 done; 1 the run failed; 2 the user's input is wrong, which one line explains.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ppzoo.errors import ConfigError, DeviceError, Interrupted, PpzooError


def console() -> NoReturn:
    """Entry point of the `ppzoo` command."""
    sys.exit(main(sys.argv[1:]))


def tool(command: str) -> NoReturn:
    """Entry point of `tools/*.py`: one command with this process's arguments."""
    sys.exit(main([command, *sys.argv[1:]]))


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line and answer its exit status."""
    options = _parser().parse_args(arguments)
    quieten_paddle()
    try:
        if importlib.util.find_spec("paddle") is None:
            raise DeviceError(
                "PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'` for the CPU"
                " or `pip install 'ppzoo[gpu]'` for a GPU (in a clone: `pip install -e '.[cpu]'`)"
            )
        return options.run(options) or 0
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_status
    except Interrupted as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except PpzooError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def quieten_paddle() -> None:
    """Keep what PaddlePaddle says of its own workings away from the user, who may ask for it by GLOG_minloglevel."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", "No ccache found")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ppzoo", description="Image classification on PaddlePaddle.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def configured(name: str, run, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description)
        command.add_argument("-c", "--config", required=True, help="the configuration, a YAML file")
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

    train = configured("train", _train, "train a network")
    train.add_argument("--resume", metavar="auto|PREFIX", help="go on from a checkpoint; auto: the newest of the run")
    configured("eval", _eval, "evaluate the weights Global.pretrained_model")
    infer = configured("infer", _infer, "say what the images Infer.infer_imgs show")
    infer.add_argument("--json", action="store_true", help="print one JSON object an image")
    configured("export", _export, "export the weights Global.pretrained_model for serving")
    configured("check", _check, "name every mistake of a configuration, without touching its data")

    models = commands.add_parser("models", help="list the architectures")
    models.add_argument("pattern", nargs="?", default="*", help="only names that match, such as '*V2*'")
    models.add_argument("--pretrained", action="store_true", help="only those with official weights")
    models.set_defaults(run=_models)
    return parser


def _train(options: argparse.Namespace) -> None:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "train")
    folder, trainer = build.training(config, options.resume)
    summary = trainer.fit()
    weights = folder / ("best_model" if summary.best_epoch is not None else "latest")
    use = f"-c {folder / 'config.yaml'} -o Global.pretrained_model={weights}"
    print(f"\nThe weights, the log and the curves are in {folder}")
    print("What to do next:")
    print(f"  python tools/infer.py {use} -o Infer.infer_imgs=PHOTO_OR_FOLDER")
    print(f"  python tools/export_model.py {use}")


def _eval(options: argparse.Namespace) -> None:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "eval")
    print(report.figures_text(build.evaluation(config)))


def _infer(options: argparse.Namespace) -> int:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "infer")
    failures = 0
    for file, answer in build.inference(config):
        if isinstance(answer, PpzooError):
            failures += 1
            print(f"error: {answer}", file=sys.stderr)
        elif options.json:
            print(json.dumps({"file_name": str(file), **answer}, ensure_ascii=False))
        else:
            pairs = zip(answer["label_names"], answer["scores"], strict=True)
            print(f"{file}: " + ", ".join(f"{name} {score:.3f}" for name, score in pairs))
    return PpzooError.exit_status if failures else 0


def _export(options: argparse.Namespace) -> None:
    from ppzoo import build, report

    report.log_to_console()
    config = build.read_config(options.config, options.override, "export")
    folder, difference = build.export(config)
    print(f"exported to {folder}; it answers what the network answers, to {difference:.1e}")
    print("What to do next, in Python:")
    print(f'  ppzoo.Predictor("{folder}").predict("photo.jpg")')


def _check(options: argparse.Namespace) -> None:
    from ppzoo import build

    build.rehearse(options.config, options.override)
    print(f"{options.config}: no mistakes found")


def _models(options: argparse.Namespace) -> None:
    from ppzoo.models import list_models

    for name in list_models(options.pattern, pretrained=True if options.pretrained else None):
        print(name)


if __name__ == "__main__":
    console()
