"""Rebuild the network of an export as layers, which have the gradients and features that its program lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import deploy, models
from ppzoo.builders.components import components
from ppzoo.builders.export import require_export
from ppzoo.builders.inference import load_inference_network
from ppzoo.config import Config
from ppzoo.errors import ConfigError, WeightsError
from ppzoo.layers import Classifier

TOLERANCE = 1e-3  # of probabilities; programs and layers compute with different operators


def config_of_export(folder: Path, device: str) -> Config:
    """Return the configuration for inference with the network of an export, with the export's weights.

    An export contains the name of the architecture, but not its other options than the number of classes.

    Raises:
        ConfigError: the export has no such name.
        PpzooError: the folder is not an export, or is damaged.
    """
    exported = deploy.open_export(folder)
    require_export(exported)
    about = exported.settings.get("Global")
    arch = about.get("model_name") if isinstance(about, dict) else None
    if not isinstance(arch, str) or arch not in models.MODELS:
        found = "nothing" if arch is None else repr(arch)
        raise _not_rebuilt(folder, f"{deploy.SETTINGS} has {found} as Global.model_name")
    name, options = deploy.parse_postprocess(exported.settings["PostProcess"])
    labels, ops = options["label_list"], exported.settings["PreProcess"]["transform_ops"]
    if not any("DecodeImage" in op for op in ops):  # in PaddleClas's own exports
        ops = [{"DecodeImage": {}}, *ops]
    run: dict[str, Any] = {"device": device, "pretrained_model": str(exported.parameters.with_suffix(""))}
    if getattr(deploy.POSTPROCESSES[name], "label_kind", "single") == "multi":
        run["use_multilabel"] = True
    section: dict[str, Any] = {"name": arch}
    if labels:
        run["class_names"], section["class_num"] = list(labels), len(labels)
    return Config.parse({"Global": run, "Arch": section, "Infer": {"transforms": ops}}, components(), "infer")


def rebuild_network(config: Config, folder: Path) -> Classifier:
    """Return the network of the export in `folder`, whose configuration is that of `config_of_export`.

    Raises:
        ConfigError: the weights are those of a network with other options.
    """
    try:
        return load_inference_network(config)
    except WeightsError as error:
        raise _not_rebuilt(folder, f"its weights do not fit {config.Arch.name} with default options") from error


def require_output_of_export(config: Config, folder: Path, network: Classifier, image: np.ndarray) -> None:
    """Check that the network's probabilities for an image, C x H x W, are those of the export in `folder`.

    Options that change no weight's shape, such as strides, are not detected otherwise.

    Raises:
        ConfigError: they differ.
    """
    expected = deploy.PaddleEngine(deploy.open_export(folder))(image[None])
    scores = deploy.Probabilities(network, multi_label=config.Global.use_multilabel)
    scores.eval()
    found = deploy.predict_probabilities(scores, image[None], lambda _: "the first image")
    difference = np.abs(expected - found).max() if expected.shape == found.shape else np.inf
    if not difference <= TOLERANCE:
        raise _not_rebuilt(folder, f"{config.Arch.name} with default options differs from it by {difference:.1g}")


def _not_rebuilt(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"RUN_FOLDER: expected a run, or an export whose network can be rebuilt, got the export {folder}: {reason};"
        " use the folder of the run that was exported, such as output/LeNet"
    )
