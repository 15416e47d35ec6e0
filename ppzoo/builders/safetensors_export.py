"""Weights as `.safetensors` that say all there is to know: architecture, classes, preprocessing.

The metadata entries are `architecture`, and `configuration`: the sections `Arch` and `Infer` as JSON, label names
included, from which a configuration to ask about images is made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import config as configuration
from ppzoo import deploy, weights
from ppzoo.builders.class_names import with_classes_of_run
from ppzoo.builders.components import Section, components
from ppzoo.builders.models import inference_arch
from ppzoo.builders.parts import image_shape
from ppzoo.builders.preprocessing import warn_of_preprocessing
from ppzoo.builders.use import exported_postprocess, inference_network, is_multi_label
from ppzoo.config import Configuration, settings
from ppzoo.errors import ConfigError, OutputError, WeightsError
from ppzoo.files import local_path
from ppzoo.layers import Classifier

ENTRY = "configuration"


def export_weights(config: Section) -> Path:
    """Write the trained network's weights into `Global.save_inference_dir` and return the file.

    Raises:
        OutputError: it cannot be written.
    """
    config = with_classes_of_run(config)
    warn_of_preprocessing(config)
    network = inference_network(config)
    _require_finite_outputs(config, network)
    arch = {
        key: value for key, value in inference_arch(config["Arch"]).items() if key not in ("pretrained", "use_ssld")
    }
    name = arch["name"]
    infer = {key: value for key, value in (config.get("Infer") or {}).items() if key != "infer_imgs"}
    ((answer, options),) = exported_postprocess(config).items()
    run = {"use_multilabel": True} if is_multi_label(config) else {}
    text = json.dumps({"Global": run, "Arch": arch, "Infer": {**infer, "PostProcess": {"name": answer, **options}}})
    folder = local_path(settings(Configuration, config).Global.save_inference_dir, "Global.save_inference_dir")
    file = folder / f"{name}.safetensors"
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    try:
        weights.save_safetensors(arrays, file, {"architecture": name, ENTRY: text})
    except OSError as error:
        raise OutputError(file, error) from error
    return file


def _require_finite_outputs(config: Section, network: Classifier) -> None:
    """Let the network look at an image, where its shape is known.

    Raises:
        TrainingError: the output is not finite.
    """
    shape = settings(Configuration, config).Global.image_shape
    if image_shape((config.get("Infer") or {}).get("transforms") or [], 3, "Infer.transforms") == list(shape):
        image = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
        network.eval()
        deploy.predict_probabilities(deploy.Probabilities(network), image, "a random image".format)


def config_of_weights(path: str, images: Sequence[str], device: str) -> dict[str, Any]:
    """A configuration that asks the network of a file of `export_weights` about images.

    Raises:
        WeightsError: the file does not say what it holds, or says it wrongly.
    """
    text = weights.read(path).metadata.get(ENTRY)
    if text is None:
        raise WeightsError(
            f"{path}: expected weights that `ppzoo export --format safetensors` wrote, got a file without"
            " preprocessing; use -c CONFIG -o Global.pretrained_model=FILE"
        )
    try:
        said = json.loads(text)
        config = {
            "Global": {**said.get("Global", {}), "device": device, "pretrained_model": path},
            "Arch": dict(said["Arch"]),
            "Infer": {**said["Infer"], "infer_imgs": list(images)},
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: the metadata {ENTRY!r} is damaged") from error
    problems = configuration.check(config, components(), "infer")
    if problems:
        raise ConfigError(*(f"{path}: {problem}" for problem in problems))
    return config
