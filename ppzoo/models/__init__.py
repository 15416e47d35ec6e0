"""The networks, one file per family. Importing this package registers all of them."""

from ppzoo.models import (  # noqa: F401
    alexnet,
    densenet,
    efficientnet,
    esnet,
    fasternet,
    ghostnet,
    googlenet,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    nin,
    pp_hgnet,
    pp_hgnet_v2,
    pp_lcnet,
    pp_lcnet_v2,
    repvgg,
    resnet,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    starnet,
    vgg,
)
from ppzoo.models.catalog import MODELS, Variant, Weights, list_models
from ppzoo.models.distillation import DistillationModel
from ppzoo.models.model_stats import shapes_near

__all__ = ["MODELS", "DistillationModel", "Variant", "Weights", "list_models", "shapes_near"]
