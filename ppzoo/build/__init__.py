"""The only package that turns configuration into objects.

Each function takes a section of a configuration in PaddleClas's schema, or the whole, and answers what it describes.
"""

from ppzoo.build.components import components
from ppzoo.build.configurations import read_config, rehearse, require_export
from ppzoo.build.networks import create_model, load_pretrained, load_weights, model
from ppzoo.build.parts import loader, loss, lr_schedule, metric, optimizer, postprocess, read_image, transforms
from ppzoo.build.portable import config_of_weights, export_weights
from ppzoo.build.recovery import fit
from ppzoo.build.training import processes, training
from ppzoo.build.use import evaluation, export, inference, inspection

__all__ = [
    "components",
    "config_of_weights",
    "create_model",
    "evaluation",
    "export",
    "export_weights",
    "fit",
    "inference",
    "inspection",
    "load_pretrained",
    "load_weights",
    "loader",
    "loss",
    "lr_schedule",
    "metric",
    "model",
    "optimizer",
    "postprocess",
    "processes",
    "read_config",
    "read_image",
    "rehearse",
    "require_export",
    "training",
    "transforms",
]
