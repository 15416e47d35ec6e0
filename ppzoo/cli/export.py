"""The command export: trained weights in the formats of inference engines."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ppzoo.cli.arguments import (
    RUN_HELP,
    Commands,
    add_command,
    add_config_arguments,
    add_quiet,
    config_and_overrides,
    parse_integer,
)
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.errors import ConfigError, printable
from ppzoo.files import expand_user

if TYPE_CHECKING:
    from ppzoo import builders

PADDLE, SAFETENSORS = "paddle", "safetensors"
EARLIER_NAMES = {"program": PADDLE}
FORMATS = (PADDLE, "onnx", "openvino", SAFETENSORS)


def add_commands(commands: Commands) -> None:
    export = add_command(commands, "export", _export, "export trained weights for inference")
    export.add_argument("run_folder", nargs="?", type=expand_user, metavar="RUN_FOLDER", help=RUN_HELP)
    add_config_arguments(export)
    add_quiet(export)
    export.add_argument(
        "--format",
        action="append",
        type=lambda name: EARLIER_NAMES.get(name, name),
        choices=FORMATS,
        help="paddle (default): a program for Paddle Inference; onnx: ONNX; openvino: OpenVINO's own format;"
        " safetensors: the weights, with architecture, preprocessing and class names as metadata. Repeat the option for"
        " several formats",
    )
    export.add_argument(
        "--legacy", action="store_true", help="write the format paddle as inference.pdmodel, for PaddlePaddle 2"
    )
    export.add_argument(
        "--with-preprocessing",
        action="store_true",
        help="onnx and openvino: take uint8 pixels, N x height x width x 3, and normalize them in the model",
    )
    export.add_argument(
        "--features", action="store_true", help="add the features before the classifier as a second output"
    )
    export.add_argument(
        "--opset", type=parse_integer, metavar="N", help="onnx and openvino: version of ONNX's operators (default: 17)"
    )
    export.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="onnx and openvino: the precision to compute in (default: float32). int8 adds quantized models;"
        " bfloat16 (only openvino) adds no files: OpenVINO computes the float32 model in bfloat16. The accuracy on"
        " the evaluation data is compared with that of float32",
    )
    export.add_argument(
        "--calibration",
        type=expand_user,
        metavar="FOLDER",
        help="int8: images to calibrate with (default: 300 images of the training data)",
    )
    export.add_argument(
        "--max-drop",
        type=parse_fraction,
        metavar="FRACTION",
        help="with --precision: the largest drop of top-1 that is accepted (default: 0.01); int8 keeps sensitive layers"
        " in float32 to stay below it",
    )
    export.add_argument(
        "--triton",
        action="store_true",
        help="onnx or openvino: also write a model repository for NVIDIA Triton Inference Server, in the folder triton",
    )


def _export(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    formats = tuple(dict.fromkeys(options.format or [PADDLE]))
    _require_matching_options(options, formats)
    config = builders.read_config(*config_and_overrides(options, options.run_folder), "export")
    programs = tuple(name for name in formats if name != SAFETENSORS)
    if programs:
        request = builders.ExportRequest(
            programs,
            legacy=options.legacy,
            features=options.features,
            with_preprocessing=options.with_preprocessing,
            opset=options.opset,
            precision=options.precision,
            calibration=options.calibration,
            triton=options.triton,
            **({} if options.max_drop is None else {"max_drop": options.max_drop}),
        )
        exported = builders.export_model(config, request)
        _print_export(exported)
    if SAFETENSORS in formats:
        file = builders.export_weights(config)
        print(printable(f"exported to {file}"))
        print_next_steps(f"{command_line('infer', '--weights', file)} PHOTO_OR_FOLDER")


def parse_fraction(text: str) -> float:
    """Return a number from 0 to 1."""
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")


def _require_matching_options(options: argparse.Namespace, formats: tuple[str, ...]) -> None:
    """Check that each option belongs to one of the formats.

    Raises:
        ConfigError: it does not.
    """
    needed = {
        "--legacy": (options.legacy, (PADDLE,)),
        "--with-preprocessing": (options.with_preprocessing, ("onnx", "openvino")),
        "--features": (options.features, (PADDLE, "onnx", "openvino")),
        "--opset": (options.opset is not None, ("onnx", "openvino")),
        "--triton": (options.triton, ("onnx", "openvino")),
        "--precision int8": (options.precision == "int8", ("onnx", "openvino")),
        "--precision bfloat16": (options.precision == "bfloat16", ("openvino",)),
    }
    for option, (is_given, expected) in needed.items():
        if is_given and not set(expected) & set(formats):
            raise ConfigError(
                f"export: expected {option} together with --format {' or '.join(expected)}, got --format"
                f" {' --format '.join(formats)}"
            )
    if options.calibration and options.precision != "int8":
        raise ConfigError(f"export: expected --calibration together with --precision int8, got {options.precision}")
    if options.triton and options.precision == "bfloat16":
        raise ConfigError("export: expected --triton with --precision float32 or int8, got bfloat16")
    if options.max_drop is not None and options.precision == "float32":
        raise ConfigError("export: expected --max-drop together with --precision int8 or bfloat16, got float32")


def _print_export(exported: builders.Exported) -> None:
    """Print where an export is, how each format compares with the network, and what to do next."""
    folder = exported.folder
    print(printable(f"exported to {folder} (max. absolute difference from the network: {exported.difference:.1e})"))
    count = exported.settings["Deployment"]["checks"]["images"]
    for check in exported.checks:
        print(
            f"  {check.kind}: max. absolute difference {check.difference:.1e}, same most probable class for"
            f" {check.agreement:.1%} of {count} images of {exported.source}"
        )
    _print_precision(exported.settings["Deployment"])
    if exported.triton is not None:
        print(printable(f"  model repository for Triton: {exported.triton}"))
    print_next_steps(f"{command_line('infer', folder)} PHOTO_OR_FOLDER")
    print_next_steps(f'import ppzoo; ppzoo.Predictor({str(folder)!r}).predict("photo.jpg")', where=", in Python")


def _print_precision(deployment: dict[str, Any]) -> None:
    """Print the accuracy in a lower precision than float32, if the export was made for one."""
    precision = deployment["precision"]
    results = deployment.get(precision)
    if not results:
        return
    for kind in FORMATS:
        if f"top1_{kind}" in results:
            found, before = results[f"top1_{kind}"], results["top1_float32"]
            print(f"  {kind} in {precision}: top-1 {found:.4f} on the evaluation data, {before:.4f} in float32")
    if results.get("float32_layers"):
        print(printable(f"  layers that stay in float32: {', '.join(results['float32_layers'])}"))
