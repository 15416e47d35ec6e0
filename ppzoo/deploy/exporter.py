"""Export a network with softmax or sigmoid in one or several formats, and check each of them against the network.

The export folder contains, depending on the formats, `inference.json` (`inference.pdmodel` of PaddlePaddle 2) and
`inference.pdiparams`, `inference.onnx`, `inference.xml` and `inference.bin`, and those of int8, such as
`inference_int8.onnx`; and `inference.yml`: the preprocessing and the label names in the layout that PaddleClas's
deployment reads, the results of the checks, and the SHA-256 of the other files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.deploy.export_check import CheckImages, FormatCheck, Reference, check_format, make_reference, random_images
from ppzoo.deploy.export_dir import DEPLOYMENT, ExportedModel, move_into_place, open_export
from ppzoo.deploy.export_precision import LowerPrecision, add_precision
from ppzoo.deploy.formats import ExportOptions, model_metadata, require_format_packages, write_formats, write_settings
from ppzoo.deploy.onnx_graph import OUTPUTS
from ppzoo.deploy.probabilities import Probabilities, layer_to_export, predict_probabilities
from ppzoo.errors import ConfigError, OutputError
from ppzoo.files import local_path, require_path
from ppzoo.layers import Classifier
from ppzoo.progress import Progress


def export(
    network: paddle.nn.Layer,
    folder: str | os.PathLike[str],
    image_shape: Sequence[int],
    settings: dict[str, Any],
    *,
    multi_label: bool = False,
) -> float:
    """Write the format "paddle" as `export_formats` does; return the max. absolute difference from the network."""
    (check,) = export_formats(network, folder, image_shape, settings, multi_label=multi_label)
    return check.difference


def export_formats(
    network: paddle.nn.Layer,
    folder: str | os.PathLike[str],
    image_shape: Sequence[int],
    settings: dict[str, Any],
    options: ExportOptions | None = None,
    *,
    multi_label: bool = False,
    images: CheckImages | None = None,
    lower: LowerPrecision | None = None,
) -> list[FormatCheck]:
    """Write `network` in one or several formats into `folder` and check each of them.

    All is written to a temporary folder and moved to `folder` only after the checks.

    Args:
        network: outputs class scores. Its re-parameterized blocks are fused (see `Classifier.fuse`).
        image_shape: channels x height x width; the batch size is dynamic.
        settings: the content of `inference.yml`; the results of the checks and the SHA-256 of the files are added.
        options: the formats; by default only "paddle".
        multi_label: see `Probabilities`.
        images: the images to check with; by default random numbers.
        lower: a precision to add to the formats "onnx" and "openvino".

    Returns:
        The result of the check for each format.

    Raises:
        ConfigError: the network cannot take images of that shape, or cannot be converted, a package is not installed,
            the accuracy in the lower precision drops too much, or the folder is not a path.
        TrainingError: a format's outputs differ from the network's, or an output is not finite.
        OutputError: the folder cannot be written.
    """
    options, folder = options or ExportOptions(), local_path(require_path(folder, "folder"), "folder")
    require_format_packages(options)
    with layer_to_export(network, features=options.features, multi_label=multi_label) as model:
        _require_valid_shape(model, image_shape)
        reference = make_reference(model, images or random_images(image_shape, options.normalization))
        if isinstance(network, Classifier):
            network.fuse()
        try:
            existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.isdir(parent))
            with tempfile.TemporaryDirectory(prefix=".export-", dir=existing) as name:
                staged = Path(name) / "export"
                checks = _write_and_check(model, Path(name), staged, image_shape, settings, options, reference, lower)
                move_into_place(staged, folder)
        except OSError as error:
            raise OutputError(folder, error, key="Global.save_inference_dir") from error
    return checks


def _write_and_check(
    model: Probabilities,
    temporary: Path,
    staged: Path,
    image_shape: Sequence[int],
    settings: dict[str, Any],
    options: ExportOptions,
    reference: Reference,
    lower: LowerPrecision | None,
) -> list[FormatCheck]:
    """Write a complete export to `staged` in the folder `temporary`."""
    work = temporary / "program"
    staged.mkdir()
    work.mkdir()
    with Progress(len(options.formats) + 1, "exporting", unit="step") as progress:
        serialized = write_formats(model, image_shape, work, staged, settings, options)
        deployment: dict[str, Any] = {
            "image_shape": list(image_shape),
            "with_preprocessing": options.normalization is not None,
            "precision": "float32",
            "outputs": {name: output.shape[1] for name, output in zip(OUTPUTS, reference.outputs[0], strict=False)},
        }
        digests = write_settings(staged, {**settings, DEPLOYMENT: deployment})
        exported = open_export(staged)
        progress.advance()
        checks = []
        for kind in options.formats:
            checks.append(check_format(kind, exported, reference))
            progress.advance()
    if lower is not None:

        def reopen() -> ExportedModel:
            write_settings(staged, {**settings, DEPLOYMENT: deployment}, digests)
            return open_export(staged)

        added = add_precision(lower, exported, serialized, model_metadata(settings), reopen)
        deployment |= {"precision": lower.precision, lower.precision: added}
    results = {check.kind: check.describe() for check in checks}
    deployment["checks"] = {"images": len(reference.images.images), "source": reference.images.source, **results}
    write_settings(staged, {**settings, DEPLOYMENT: deployment}, digests)
    return checks


def _require_valid_shape(model: Probabilities, image_shape: Sequence[int]) -> None:
    """Run the network on one image of that shape before anything is written."""
    try:
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError("not an image shape")
        predict_probabilities(model, np.zeros((1, *image_shape), np.float32), "a black image".format)
    except ValueError as error:  # PaddlePaddle's operators raise it for shapes that do not match
        received = " x ".join(map(str, image_shape))
        raise ConfigError(
            f"Global.image_shape: expected channels x height x width that the network can take, got {received}"
        ) from error
