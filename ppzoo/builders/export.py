"""Export trained networks for serving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo import deploy
from ppzoo.builders.class_names import add_classes_of_run, list_labels
from ppzoo.builders.component_factory import class_count, components
from ppzoo.builders.export_accuracy import lower_precision
from ppzoo.builders.export_images import EvaluationData, find_normalization, read_check_images
from ppzoo.builders.inference import choose_postprocess, load_inference_network
from ppzoo.builders.model_card import copy_model_card
from ppzoo.builders.preprocessing import require_image_shape, warn_of_preprocessing
from ppzoo.config import Config, GlobalConfig, check_export, to_plain_list
from ppzoo.errors import ConfigError, OutputError
from ppzoo.files import RUN_LOG, output_folder, weights_of_run

ARCH = "Arch"  # key of the options of the network in `inference.yml`


class ExportRequest(NamedTuple):
    """The options of `ppzoo export`.

    Attributes:
        formats: some of `deploy.FORMATS`.
        legacy, features: see `deploy.ExportOptions`.
        with_preprocessing: the ONNX and OpenVINO models take uint8 pixels and normalize them.
        opset: version of ONNX's operators; None for `deploy.DEFAULT_OPSET`.
        precision: "float32", "bfloat16" or "int8".
        calibration: a folder of images to calibrate int8 with; by default images of the training data are used.
        triton: write a model repository for Triton, too.
        max_drop: the largest drop of top-1 on the evaluation data that is accepted for a lower precision.
    """

    formats: tuple[str, ...] = ("paddle",)
    legacy: bool = False
    features: bool = False
    with_preprocessing: bool = False
    opset: int | None = None
    precision: str = "float32"
    calibration: str | None = None
    max_drop: float = 0.01
    triton: bool = False


class Exported(NamedTuple):
    """A written export.

    Attributes:
        checks: the comparison of each format with the network.
        source: where the images of the comparison are from: "the evaluation data" or "random numbers".
        settings: the content of `inference.yml`.
        triton: the model repository for Triton, if one was written.
    """

    folder: Path
    checks: list[deploy.FormatCheck]
    source: str
    settings: dict[str, Any]
    triton: Path | None

    @property
    def difference(self) -> float:
        """The max. absolute difference of the probabilities from the network's, of all formats."""
        return max(check.difference for check in self.checks)


def export_model(config: Config, request: ExportRequest | None = None) -> Exported:
    """Export the trained network and check it on images of the evaluation data, or on random numbers without them.

    Raises:
        ConfigError: no weights are set, the transforms do not produce images of `Global.image_shape`,
            `Global.save_inference_dir` is a file or the folder of a run, a package is not installed, the network cannot
            be converted, or the accuracy in a lower precision drops too much.
        DataError: an image of the evaluation or calibration data of a lower precision cannot be read.
        WeightsError: the weights do not exist, or do not fit the network.
        TrainingError: a format's outputs differ from the network's, or are not finite.
        OutputError: the folder cannot be written.
    """
    request = request or ExportRequest()
    config = add_classes_of_run(config)
    run = config.Global
    require_image_shape(config.Infer.transforms or (), run.image_shape)
    normalization = find_normalization(config) if request.with_preprocessing else None
    options = deploy.ExportOptions(
        request.formats,
        request.legacy,
        request.features,
        normalization,
        deploy.DEFAULT_OPSET if request.opset is None else request.opset,
    )
    deploy.require_format_packages(options, request.precision)
    folder = _export_folder(run)
    warn_of_preprocessing(config)
    network = load_inference_network(config)
    content = {
        "Global": {"model_name": config.Arch.deployed.name},
        ARCH: arch_options(config),
        "PreProcess": {"transform_ops": to_plain_list(config.Infer.transforms or ())},
        "PostProcess": describe_postprocess(config),
    }
    evaluation = EvaluationData(config)
    images = read_check_images(evaluation, normalization)
    lower = None
    if request.precision != "float32":
        lower = lower_precision(evaluation, request.precision, normalization, request.calibration, request.max_drop)
    checks = deploy.export_formats(
        network,
        folder,
        list(run.image_shape),
        content,
        options,
        multi_label=run.use_multilabel,
        images=images,
        lower=lower,
    )
    source = "random numbers" if images is None else images.source
    exported = deploy.open_export(folder)
    repository = None
    try:
        copy_model_card(config, folder)
        deploy.remove_triton(folder, config.Arch.deployed.name)
        if request.triton:
            kind = next(name for name in ("onnx", "openvino") if name in request.formats)
            repository = deploy.write_triton(exported, kind, config.Arch.deployed.name)
    except OSError as error:
        raise OutputError(folder, error, key="Global.save_inference_dir") from error
    return Exported(folder, checks, source, exported.settings, repository)


def _export_folder(run: GlobalConfig) -> Path:
    folder = output_folder(run.save_inference_dir, "Global.save_inference_dir")
    if os.path.isfile(folder):
        raise ConfigError(f"Global.save_inference_dir: expected a folder, got the file {folder}")
    if os.path.isfile(folder / RUN_LOG) and weights_of_run(folder) is not None:
        # Commands that take a folder would use the export from then on, also after the run has been resumed.
        expected = f"a folder other than that of a run, such as {folder / 'export'}"
        raise ConfigError(f"Global.save_inference_dir: expected {expected}, got {folder}")
    return folder


def arch_options(config: Config) -> dict[str, Any]:
    """Return the keys of `Arch` with which the exported network can be built again."""
    arch = config.Arch.deployed
    channels = {} if arch.in_channels is None else {"in_channels": arch.in_channels}
    return {"name": arch.name, **arch.spec.options, "class_num": class_count(arch), **channels}


def describe_postprocess(config: Config) -> dict[str, dict[str, Any]]:
    """Return `Infer.PostProcess` as `{name: options}`, with the list of class names."""
    spec = choose_postprocess(config).spec
    name, options = spec.name, dict(spec.options)
    for_single_network = getattr(deploy.POSTPROCESSES[name], "for_single_network", None)
    if for_single_network is not None:  # an export contains a single network
        name, options = for_single_network(**options)
    if name == "Topk":
        options.setdefault("topk", 5)
    return {name: {**options, "label_list": list_labels(config)}}


def require_export(exported: deploy.ExportedModel) -> None:
    """Check the transforms and the postprocessing, and their options, in an export's `inference.yml`.

    Raises:
        ConfigError: all mistakes.
    """
    name, options = deploy.parse_postprocess(exported.settings["PostProcess"])
    steps = exported.settings["PreProcess"]["transform_ops"]
    problems = check_export(steps, {**options, "name": name}, components("transform", "postprocess"))
    if problems:
        raise ConfigError(*(f"{exported.folder / deploy.SETTINGS}: {problem}" for problem in problems))
