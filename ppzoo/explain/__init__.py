"""Grad-CAM heat maps, and the features before the classifier."""

from ppzoo.explain.features import Projection, embed, nearest, project, require_projection
from ppzoo.explain.heatmaps import grad_cam, grad_cams
from ppzoo.explain.overlays import overlay, overlay_part

__all__ = [
    "Projection",
    "embed",
    "grad_cam",
    "grad_cams",
    "nearest",
    "overlay",
    "overlay_part",
    "project",
    "require_projection",
]
