"""Rebuild the network of an export as layers, which have the gradients and features that its program lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import deploy, engine, models, native
from ppzoo.builders.component_factory import components
from ppzoo.builders.export import ARCH, require_export
from ppzoo.builders.models import build_model, load_weights
from ppzoo.config import Config
from ppzoo.errors import ConfigError, WeightsError
from ppzoo.layers import Classifier

REBUILT_TOLERANCE = 1e-3  # of probabilities; programs and layers compute with different operators


class NotRebuiltError(ConfigError):
    """The network of an export cannot be rebuilt.

    Attributes:
        reason: why, without the folder and the fix.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"RUN_FOLDER: expected a run, or an export whose network can be rebuilt, got the export {folder}: {reason};"
            " use the folder of the run that was exported, such as output/LeNet"
        )
        self.reason = reason


def config_of_export(exported: deploy.ExportedModel, device: str) -> Config:
    """Return the configuration for inference with the network of an export.

    Exports of ppzoo contain the section `Arch`; others at most the name of the architecture.

    Raises:
        ConfigError: the export does not name an architecture of ppzoo.
    """
    require_export(exported)
    run: dict[str, Any] = {"device": device}
    if exported.is_multi_label:
        run["use_multilabel"] = True
    arch = _arch_of_export(exported)
    if exported.labels:
        run["class_names"] = exported.labels
        arch.setdefault("class_num", len(exported.labels))
    transforms = exported.transform_ops
    return Config.parse({"Global": run, "Arch": arch, "Infer": {"transforms": transforms}}, components(), "infer")


def _arch_of_export(exported: deploy.ExportedModel) -> dict[str, Any]:
    named = deploy.find_architecture(exported.architecture) if exported.architecture else {}
    arch = exported.settings.get(ARCH, named)
    name = arch.get("name") if isinstance(arch, dict) else None
    if not isinstance(name, str) or name not in models.MODELS:
        found = f"names the architecture {name!r}, which is unknown" if name else "does not name its architecture"
        raise NotRebuiltError(exported.folder, f"{deploy.SETTINGS} {found}")
    return {**arch}


def rebuild_network(config: Config, exported: deploy.ExportedModel) -> Classifier:
    """Return the network of an export, whose configuration is that of `config_of_export`.

    Raises:
        ConfigError: the export does not have the format "paddle", or its weights do not fit the network.
    """
    engine.select_device(config.Global.device)
    native.set_mode(config.Global.native)
    network = build_model(config.Arch.deployed, pretrained=False)
    if not isinstance(network, Classifier):
        raise NotRebuiltError(exported.folder, "it has several networks")
    network.fuse()  # as exporting does
    require_weights(exported)
    try:
        load_weights(network, exported.parameters.with_suffix(""))
    except WeightsError as error:
        reason = f"its weights do not fit {config.Arch.name} with these options ({error.line})"
        raise NotRebuiltError(exported.folder, reason) from error
    network.eval()
    return network


def require_weights(exported: deploy.ExportedModel) -> None:
    """Check that an export has the format whose weights a rebuilt network can load.

    Raises:
        NotRebuiltError: the export does not have the format "paddle".
    """
    if "paddle" not in exported.formats:
        raise NotRebuiltError(exported.folder, "it does not have the format paddle, which contains the weights")


def require_output_of_export(
    config: Config, exported: deploy.ExportedModel, network: Classifier, images: np.ndarray
) -> None:
    """Check that the network's probabilities for images, N x C x H x W, are those of the export.

    Wrong options that change no weight's shape, such as strides, are only detected by this check.

    Raises:
        ConfigError: they differ.
    """
    expected = deploy.PaddleEngine(exported)(images)
    scores = deploy.Probabilities(network, multi_label=config.Global.use_multilabel)
    scores.eval()
    found = deploy.predict_probabilities(scores, images)
    difference = np.abs(expected - found).max() if expected.shape == found.shape else np.inf
    if not difference <= REBUILT_TOLERANCE:
        raise NotRebuiltError(
            exported.folder,
            f"its probabilities are not those of {config.Arch.name} with these options (max. absolute difference"
            f" {difference:.1g})",
        )
