"""Export trained networks for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppzoo import deploy
from ppzoo.builders.class_names import add_classes_of_run, list_labels
from ppzoo.builders.components import components
from ppzoo.builders.inference import choose_postprocess, load_inference_network
from ppzoo.builders.preprocessing import require_image_shape, warn_of_preprocessing
from ppzoo.config import Config, check_export, to_plain_list
from ppzoo.errors import ConfigError
from ppzoo.files import local_path


def export_model(config: Config) -> tuple[Path, float]:
    """Export the trained network; return the folder and the maximum absolute difference from the network's outputs.

    Raises:
        ConfigError: the transforms do not produce images of `Global.image_shape`.
    """
    config = add_classes_of_run(config)
    run = config.Global
    require_image_shape(config.Infer.transforms or (), run.image_shape)
    warn_of_preprocessing(config)
    network = load_inference_network(config)
    content = {
        "Global": {"model_name": config.Arch.deployed.name},
        "PreProcess": {"transform_ops": to_plain_list(config.Infer.transforms or ())},
        "PostProcess": describe_postprocess(config),
    }
    folder = local_path(run.save_inference_dir, "Global.save_inference_dir")
    difference = deploy.export(network, folder, list(run.image_shape), content, multi_label=run.use_multilabel)
    return folder, difference


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
    """Check that the transforms and the post-processing in an export's `inference.yml` exist.

    Raises:
        ConfigError: all mistakes.
    """
    name, options = deploy.parse_postprocess(exported.settings["PostProcess"])
    steps = exported.settings["PreProcess"]["transform_ops"]
    problems = check_export(steps, {**options, "name": name}, components("transform", "postprocess"))
    if problems:
        raise ConfigError(*(f"{exported.folder / deploy.SETTINGS}: {problem}" for problem in problems))
