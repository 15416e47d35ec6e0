"""The only package that turns configuration into objects.

Each function takes a section of a configuration in PaddleClas's schema, or the whole, and answers what it describes.
"""

from ppzoo.builders.components import components
from ppzoo.builders.dry_run import dry_run_config, read_config, require_export
from ppzoo.builders.models import build_model, create_model, load_pretrained, load_weights
from ppzoo.builders.parts import (
    build_loader,
    build_loss,
    build_lr_schedule,
    build_metrics,
    build_optimizer,
    build_postprocess,
    build_transforms,
    read_image,
)
from ppzoo.builders.recipes import Photos, find_photos, photo_recipe, read_photo_config
from ppzoo.builders.rollback import fit_with_rollback
from ppzoo.builders.safetensors_export import config_of_weights, export_weights
from ppzoo.builders.training import build_trainer, join_processes
from ppzoo.builders.use import evaluate, export_model, find_images, inspect_data, predict

__all__ = [
    "Photos",
    "build_loader",
    "build_loss",
    "build_lr_schedule",
    "build_metrics",
    "build_model",
    "build_optimizer",
    "build_postprocess",
    "build_trainer",
    "build_transforms",
    "components",
    "config_of_weights",
    "create_model",
    "dry_run_config",
    "evaluate",
    "export_model",
    "export_weights",
    "find_images",
    "find_photos",
    "fit_with_rollback",
    "inspect_data",
    "join_processes",
    "load_pretrained",
    "load_weights",
    "photo_recipe",
    "predict",
    "read_config",
    "read_image",
    "read_photo_config",
    "require_export",
]
