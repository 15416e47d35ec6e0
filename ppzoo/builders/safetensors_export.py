"""Export weights as `.safetensors` with everything that inference needs: architecture, classes, preprocessing.

The metadata entries are `architecture`, and `configuration`: as JSON, those keys of the sections `Global`, `Arch` and
`Infer` that inference needs, and the class names. A configuration for inference is restored from it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ppzoo import deploy, weights
from ppzoo.builders.class_names import add_classes_of_run
from ppzoo.builders.component_factory import components
from ppzoo.builders.export import describe_postprocess
from ppzoo.builders.inference import load_inference_network
from ppzoo.builders.preprocessing import measure_image_shape, warn_of_preprocessing
from ppzoo.config import Config, to_plain
from ppzoo.errors import ConfigError, OutputError, WeightsError
from ppzoo.files import output_folder
from ppzoo.layers import Classifier

ENTRY = "configuration"
NOT_EXPORTED = ("pretrained", "use_ssld")  # keys of Arch


def export_weights(config: Config) -> Path:
    """Write the trained network's weights to `Global.save_inference_dir` and return the file.

    Raises:
        OutputError: the file cannot be written.
    """
    config = add_classes_of_run(config)
    warn_of_preprocessing(config)
    network = load_inference_network(config)
    _require_finite_outputs(config, network)
    name = config.Arch.deployed.name
    folder = output_folder(config.Global.save_inference_dir, "Global.save_inference_dir")
    file = folder / f"{name}.safetensors"
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    try:
        weights.save_safetensors(arrays, file, {"architecture": name, ENTRY: _describe_config(config)})
    except OSError as error:
        raise OutputError(file, error, key="Global.save_inference_dir") from error
    return file


def _describe_config(config: Config) -> str:
    """Return what inference needs of the configuration, as JSON."""
    arch, infer = to_plain(config.Arch.deployed) or {}, to_plain(config.Infer) or {}
    ((name, options),) = describe_postprocess(config).items()
    return json.dumps(
        {
            "Global": {"use_multilabel": True} if config.Global.use_multilabel else {},
            "Arch": {key: value for key, value in arch.items() if key not in NOT_EXPORTED},
            "Infer": {
                **{key: value for key, value in infer.items() if key != "infer_imgs"},
                "PostProcess": {"name": name, **options},
            },
        }
    )


def _require_finite_outputs(config: Config, network: Classifier) -> None:
    """Compute the outputs for a random image, if `Infer.transforms` produce images of `Global.image_shape`.

    Raises:
        TrainingError: the output is not finite.
    """
    shape = list(config.Global.image_shape)
    if measure_image_shape(config.Infer.transforms or (), 3, "Infer.transforms") == shape:
        image = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
        network.eval()
        deploy.predict_probabilities(deploy.Probabilities(network), image, "a random image".format)


def config_of_weights(path: str, device: str) -> Config:
    """Return the configuration for predictions with the network of a file that `export_weights` wrote.

    Raises:
        WeightsError: the file has no configuration, or a damaged one.
        ConfigError: the configuration has a key or value that is not supported.
    """
    text = weights.read(path).metadata.get(ENTRY)
    if text is None:
        raise WeightsError(
            f"{path}: expected weights that `ppzoo export --format safetensors` wrote, got a file without"
            " preprocessing; use -c CONFIG -o Global.pretrained_model=FILE"
        )
    try:
        content = json.loads(text)
        raw = {
            "Global": {**content.get("Global", {}), "device": device, "pretrained_model": path},
            "Arch": dict(content["Arch"]),
            "Infer": dict(content["Infer"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: the metadata {ENTRY!r} is damaged") from error
    try:
        return Config.parse(raw, components(), "infer")
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {problem}" for problem in error.problems)) from error
