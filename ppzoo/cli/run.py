"""The commands that use trained weights: eval, infer, export."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from ppzoo.cli.arguments import Commands, add_command, add_config_arguments, add_quiet, config_and_overrides
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.cli.report import EXPORT_SETTINGS, print_report
from ppzoo.cli.streams import is_utf8_output
from ppzoo.errors import BatchError, ConfigError, PpzooError, errors_with_key, one_line, printable
from ppzoo.files import expand_user
from ppzoo.launcher import read_launch
from ppzoo.progress import track

CHUNK = 64  # images that are predicted before their results are printed

RUN_HELP = "the folder of a run, such as output/LeNet, whose configuration and best weights are used; or use -c CONFIG"


def add_commands(commands: Commands) -> None:
    evaluate = add_command(commands, "eval", _eval, "evaluate trained weights on the evaluation data")
    evaluate.add_argument("run_folder", nargs="?", type=expand_user, metavar="RUN_FOLDER", help=RUN_HELP)
    add_config_arguments(evaluate)
    add_quiet(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    evaluate.add_argument(
        "--report", action="store_true", help="also write the files of `ppzoo report` into the folder of the run"
    )

    infer = add_command(commands, "infer", _infer, "predict the classes of images")
    infer.add_argument(
        "inputs",
        nargs="*",
        type=expand_user,
        metavar="IMAGE",
        help="image files, folders or patterns (default: Infer.infer_imgs of the configuration); unless -c or --weights"
        " is given, the first one is the folder of a run, such as output/LeNet, or of an export",
    )
    infer.usage = "ppzoo infer [options] (RUN_FOLDER | EXPORT_FOLDER | -c CONFIG | --weights FILE) [IMAGE ...]"
    add_config_arguments(infer)
    infer.add_argument(
        "--weights",
        type=expand_user,
        metavar="FILE",
        help="a .safetensors file that `ppzoo export --format safetensors` wrote; needs no configuration",
    )
    add_quiet(infer)
    infer.add_argument("--json", action="store_true", help="print one JSON object per image")

    export = add_command(commands, "export", _export, "export trained weights for inference")
    export.add_argument("run_folder", nargs="?", type=expand_user, metavar="RUN_FOLDER", help=RUN_HELP)
    add_config_arguments(export)
    add_quiet(export)
    export.add_argument(
        "--format",
        choices=("program", "safetensors"),
        default="program",
        help="program (default): an inference model for ppzoo.Predictor; safetensors: the weights, with architecture,"
        " preprocessing and class names as metadata",
    )


def _eval(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    config = builders.read_config(*config_and_overrides(options, options.run_folder), "eval")
    if options.report:
        if read_launch(os.environ).size > 1:
            raise ConfigError("eval: expected one process with --report; start it without paddle.distributed.launch")
        evaluated = builders.evaluate_run(config)
        print(report.json_line(evaluated.metrics) if options.json else report.format_metrics(evaluated.metrics))
        print_report(evaluated, as_json=options.json)
        return
    with builders.join_processes(config) as processes:
        metrics = builders.evaluate(config, processes)
    if processes.is_main:
        print(report.json_line(metrics) if options.json else report.format_metrics(metrics))


def _infer(options: argparse.Namespace) -> int:
    from ppzoo import report

    report.log_to_console()
    failures = 0
    for file, prediction in _predictions(options):
        if isinstance(prediction, PpzooError):
            failures += 1
            print(f"error: {prediction}", file=sys.stderr)
        elif options.json:
            print(printable(json.dumps({"file_name": file, **prediction}, ensure_ascii=not is_utf8_output())))
        else:
            pairs = zip(prediction["label_names"], prediction["scores"], strict=True)
            print(one_line(f"{file}: " + ", ".join(f"{name} {score:.3f}" for name, score in pairs)))
    return PpzooError.exit_status if failures else 0


def _predictions(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any] | PpzooError]]:
    """Yield each image with its prediction, or with the error that prevented one."""
    from ppzoo import builders

    if options.config is not None and options.weights is not None:
        raise ConfigError("infer: expected either -c CONFIG or --weights FILE, got both")
    if options.weights and options.override:
        raise ConfigError("infer: expected -o together with a run folder or -c CONFIG, got it with --weights")
    folder, images = None, options.inputs
    if options.config is None and options.weights is None:
        if not options.inputs:
            raise ConfigError("infer: expected RUN_FOLDER, -c CONFIG or --weights FILE, got nothing")
        folder, *images = options.inputs
        if not os.path.isdir(folder):
            raise ConfigError(
                f"infer: expected RUN_FOLDER, -c CONFIG or --weights FILE before the images, got {folder}"
            )
        if os.path.isfile(os.path.join(folder, EXPORT_SETTINGS)):
            yield from _predictions_of_export(options, folder, images)
            return
    if options.weights:
        with errors_with_key("--weights"):
            config = builders.config_of_weights(options.weights, device=options.device or "auto")
    else:
        config = builders.read_config(*config_and_overrides(options, folder), "infer")
    for file, prediction in builders.predict(config, images):
        yield str(file), prediction


def _predictions_of_export(
    options: argparse.Namespace, folder: str, images: list[str]
) -> Iterator[tuple[str, dict[str, Any] | PpzooError]]:
    import ppzoo
    from ppzoo import builders, engine

    if options.override:
        raise ConfigError("infer: expected -o together with a run folder or -c CONFIG, got it with an export folder")
    engine.select_device(options.device or "auto")
    files = [str(file) for file in builders.find_images(images, key="IMAGE")]
    predictor = ppzoo.Predictor(folder)
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    for chunk in track(chunks, len(files), "predicting", count=len, is_printed=True):
        try:
            results: list[Any] = predictor.predict(chunk)
        except BatchError as error:
            results = [error.errors.get(index, result) for index, result in enumerate(error.results)]
        yield from zip(chunk, results, strict=True)


def _export(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    config = builders.read_config(*config_and_overrides(options, options.run_folder), "export")
    if options.format == "safetensors":
        file = builders.export_weights(config)
        print(printable(f"exported to {file}"))
        print_next_steps(f"{command_line('infer', '--weights', file)} PHOTO_OR_FOLDER")
        return
    folder, difference = builders.export_model(config)
    print(printable(f"exported to {folder} (max. absolute difference from the network: {difference:.1e})"))
    print_next_steps(f"{command_line('infer', folder)} PHOTO_OR_FOLDER")
    print_next_steps(f'import ppzoo; ppzoo.Predictor({str(folder)!r}).predict("photo.jpg")', where=", in Python")
