"""Blocks that several families share."""

from ppzoo.backports import apply_backports
from ppzoo.layers.activations import activation
from ppzoo.layers.channel_shuffle import channel_shuffle
from ppzoo.layers.classifier import Classifier, DataFormat, FeatureExtractor, as_written
from ppzoo.layers.conv_bn import ConvBNLayer, NamedConvBNLayer
from ppzoo.layers.convolution import BiasedConvBNLayer, convolution
from ppzoo.layers.diverse_branch import DiverseBranchBlock
from ppzoo.layers.dropout import downscaled_dropout
from ppzoo.layers.inverted_residual import inverted_residual
from ppzoo.layers.make_divisible import make_divisible
from ppzoo.layers.named_resnet import BranchConvBNLayer, NamedResNet, branch_names, named_deep_stem
from ppzoo.layers.native_layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    Conv2D,
    Linear,
    MaxPool2D,
    add,
    concat,
    halve,
    norm_act,
    relu,
    shuffled_concat,
    synchronize_norms,
)
from ppzoo.layers.param_names import batch_norm, bias_attr, linear, weight_attr
from ppzoo.layers.residual import STAGE_DEPTHS, BasicBlock, BlockPlace, BottleneckBlock, block_places, deep_stem
from ppzoo.layers.same_padding import Padding, native_same_padding, padding_of
from ppzoo.layers.squeeze_excite import SELayer
from ppzoo.layers.squeeze_excite_conv import ConvSqueezeExcite
from ppzoo.layers.uniform_linear import fan_in_uniform, uniform_linear

__all__ = [
    "STAGE_DEPTHS",
    "AdaptiveAvgPool2D",
    "AvgPool2D",
    "BasicBlock",
    "BiasedConvBNLayer",
    "BlockPlace",
    "BottleneckBlock",
    "BranchConvBNLayer",
    "Classifier",
    "Conv2D",
    "ConvBNLayer",
    "ConvSqueezeExcite",
    "DataFormat",
    "DiverseBranchBlock",
    "FeatureExtractor",
    "Linear",
    "MaxPool2D",
    "NamedConvBNLayer",
    "NamedResNet",
    "Padding",
    "SELayer",
    "activation",
    "add",
    "as_written",
    "batch_norm",
    "bias_attr",
    "block_places",
    "branch_names",
    "channel_shuffle",
    "concat",
    "convolution",
    "deep_stem",
    "downscaled_dropout",
    "fan_in_uniform",
    "halve",
    "inverted_residual",
    "linear",
    "make_divisible",
    "named_deep_stem",
    "native_same_padding",
    "norm_act",
    "padding_of",
    "relu",
    "shuffled_concat",
    "synchronize_norms",
    "uniform_linear",
    "weight_attr",
]

apply_backports()
