"""The networks, one file a family. Importing this package registers all of them."""

from ppzoo.models import mobilenet_v2  # noqa: F401
from ppzoo.models.catalogue import MODELS, Variant, Weights, list_models

__all__ = ["MODELS", "Variant", "Weights", "list_models"]
