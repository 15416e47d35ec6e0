"""Grad-CAM heat maps, and the features before the classifier."""

from ppzoo.explain.features import embed, nearest, project
from ppzoo.explain.grad_cam import grad_cam, grad_cams
from ppzoo.explain.overlays import overlay, overlay_part

__all__ = ["embed", "grad_cam", "grad_cams", "nearest", "overlay", "overlay_part", "project"]
