"""Blocks that several families share."""

from ppzoo.layers.activations import activation
from ppzoo.layers.classifier import Classifier
from ppzoo.layers.conv_bn import ConvBNLayer, NamedConvBNLayer
from ppzoo.layers.names import batch_norm, bias_attr, linear, weight_attr

__all__ = [
    "Classifier",
    "ConvBNLayer",
    "NamedConvBNLayer",
    "activation",
    "batch_norm",
    "bias_attr",
    "linear",
    "weight_attr",
]
