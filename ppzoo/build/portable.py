"""Weights as `.safetensors` that say all there is to know: architecture, classes, preprocessing.

The metadata entries are `architecture`, and `configuration`: the sections `Arch` and `Infer` as JSON, label names
included, from which a configuration to ask about images is made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppzoo import config as configuration
from ppzoo import weights
from ppzoo.build.components import Section, components
from ppzoo.build.use import label_list, trained_network
from ppzoo.config import Configuration, settings
from ppzoo.errors import ConfigError, WeightsError

ENTRY = "configuration"


def export_weights(config: Section) -> Path:
    """Write the trained network's weights into `Global.save_inference_dir` and answer the file."""
    name = config["Arch"]["name"]
    network = trained_network(config)
    arch = {key: value for key, value in config["Arch"].items() if key not in ("pretrained", "use_ssld")}
    infer = {key: value for key, value in (config.get("Infer") or {}).items() if key != "infer_imgs"}
    chosen = {"name": "Topk", **(infer.get("PostProcess") or {}), "label_list": label_list(config)}
    chosen.pop("class_id_map_file", None)
    text = json.dumps({"Arch": arch, "Infer": {**infer, "PostProcess": chosen}})
    file = Path(settings(Configuration, config).Global.save_inference_dir) / f"{name}.safetensors"
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    weights.save_safetensors(arrays, file, {"architecture": name, ENTRY: text})
    return file


def config_of_weights(path: str, images: Sequence[str], device: str) -> dict[str, Any]:
    """A configuration that asks the network of a file of `export_weights` about images.

    Raises:
        WeightsError: the file does not say what it holds, or says it wrongly.
    """
    text = weights.read(path).metadata.get(ENTRY)
    if text is None:
        raise WeightsError(
            f"{path}: expected weights that `ppzoo export --format safetensors` wrote, received a file without"
            " preprocessing; use -c CONFIG -o Global.pretrained_model=FILE"
        )
    try:
        said = json.loads(text)
        config = {
            "Global": {"device": device, "pretrained_model": path},
            "Arch": dict(said["Arch"]),
            "Infer": {**said["Infer"], "infer_imgs": list(images)},
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: the metadata {ENTRY!r} is damaged") from error
    problems = configuration.check(config, components(), "infer")
    if problems:
        raise ConfigError(*(f"{path}: {problem}" for problem in problems))
    return config
