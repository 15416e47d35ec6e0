"""The command `infer`: print the predictions of images, or write those of a folder or a video to a table."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppzoo.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_quiet,
    config_and_overrides,
    is_export,
    require_no_network_folder,
)
from ppzoo.cli.infer_table import add_table_arguments, check_table_options, write_table
from ppzoo.cli.streams import is_utf8_output, print_error
from ppzoo.errors import BatchError, ConfigError, PpzooError, errors_with_key, one_line, printable
from ppzoo.files import describe_absence, expand_user
from ppzoo.progress import track

if TYPE_CHECKING:
    from ppzoo.config import Config

CHUNK = 64  # images that are predicted before their results are printed


def add_commands(commands: Commands) -> None:
    infer = add_command(commands, "infer", _infer, "predict the classes of images")
    infer.add_argument(
        "inputs",
        nargs="*",
        type=expand_user,
        metavar="IMAGE",
        help="image files, folders or patterns (default: Infer.infer_imgs of the configuration); without -c and"
        " --weights, the first argument is the network: the folder of a run, such as output/LeNet, or an export, as a"
        " folder or a tar file",
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
    add_table_arguments(infer)


def _infer(options: argparse.Namespace) -> int:
    from ppzoo import report

    report.log_to_console()
    folder, images = _split_inputs(options)
    source = check_table_options(options, images)
    uses_export = folder is not None and (_is_archive(folder) or is_export(folder))
    if uses_export and options.override:
        raise ConfigError("infer: expected -o together with a run folder or -c CONFIG, got it with an export")
    network = Path(str(folder)) if uses_export else _read_config(options, folder)
    if source is not None:
        return write_table(options, network, source)
    return _print_predictions(options, network, images)


def _split_inputs(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """Return the folder of a run, or the folder or tar file of an export (None with -c or --weights), and the images.

    Raises:
        ConfigError: the options contradict each other, or there is no such folder or file.
    """
    if options.config is not None and options.weights is not None:
        raise ConfigError("infer: expected either -c CONFIG or --weights FILE, got both")
    if options.weights and options.override:
        raise ConfigError("infer: expected -o together with a run folder or -c CONFIG, got it with --weights")
    if options.config is not None or options.weights is not None:
        require_no_network_folder("infer", options.inputs, "--weights FILE" if options.weights else "-c CONFIG")
        return None, options.inputs
    if not options.inputs:
        raise ConfigError("infer: expected RUN_FOLDER, EXPORT_FOLDER, -c CONFIG or --weights FILE, got nothing")
    folder, *images = options.inputs
    if not os.path.isdir(folder) and not _is_archive(folder):
        found = folder if os.path.exists(folder) else f"{folder}, which {describe_absence(folder)}"
        raise ConfigError(
            f"infer: expected RUN_FOLDER, EXPORT_FOLDER, -c CONFIG or --weights FILE before the images, got {found}"
        )
    return folder, images


def _is_archive(name: str) -> bool:
    from ppzoo.weights import is_export_archive

    return is_export_archive(name)


def _read_config(options: argparse.Namespace, folder: str | None) -> Config:
    from ppzoo import builders

    if options.weights:
        if os.path.isdir(options.weights):
            raise ConfigError(
                f"--weights: expected a .safetensors file, got the folder {options.weights}; `ppzoo infer RUN_FOLDER"
                " IMAGE` takes the folder of a run or an export"
            )
        with errors_with_key("--weights"):
            return builders.config_of_weights(options.weights, device=options.device or "auto")
    return builders.read_config(*config_and_overrides(options, folder), "infer")


def _print_predictions(options: argparse.Namespace, network: Config | Path, images: list[str]) -> int:
    from ppzoo import builders

    failures = 0
    predictions = (
        _predictions_of_export(options, network, images)
        if isinstance(network, Path)
        else builders.predict(network, images)
    )
    for file, prediction in predictions:
        if isinstance(prediction, PpzooError):
            failures += 1
            print_error(f"error: {prediction}")
        elif options.json:
            record = {"file_name": str(file), **prediction}
            print(printable(json.dumps(record, ensure_ascii=not is_utf8_output())))
        else:
            pairs = zip(prediction["label_names"], prediction["scores"], strict=True)
            words = prediction.get("attributes") or [f"{name} {score:.3f}" for name, score in pairs]
            print(one_line(f"{file}: " + ", ".join(words)))
    return PpzooError.exit_status if failures else 0


def _predictions_of_export(
    options: argparse.Namespace, folder: Path, images: list[str]
) -> Iterator[tuple[Path, dict[str, Any] | PpzooError]]:
    """Yield each image with its prediction, or with the error that prevented one."""
    import ppzoo
    from ppzoo import builders, engine

    engine.select_device(options.device or "auto")
    files = builders.find_images(images, key="IMAGE")
    predictor = ppzoo.Predictor(folder)
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    for chunk in track(chunks, len(files), "predicting", count=len, is_printed=True):
        try:
            results: list[Any] = predictor.predict(chunk)
        except BatchError as error:
            results = error.results_or_errors()
        yield from zip(chunk, results, strict=True)
