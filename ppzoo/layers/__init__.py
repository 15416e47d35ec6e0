"""Building blocks that several architecture families share."""

from ppzoo.backports import apply_backports
from ppzoo.layers.affine import LearnableAffineBlock, conv_norm_act_affine
from ppzoo.layers.basic import activation, downscaled_dropout, dropout, make_divisible
from ppzoo.layers.bfloat16 import find_network_bfloat16_obstacle
from ppzoo.layers.classifier import Classifier, DataFormat, FeatureExtractor, deployed_network, not_to_static
from ppzoo.layers.conv_bn import BiasedConvBNLayer, ConvBNLayer, KaimingConvBNLayer, NamedConvBNLayer, convolution
from ppzoo.layers.conv_padding import Padding, native_same_padding, same_padding
from ppzoo.layers.diverse_branch import DiverseBranchBlock
from ppzoo.layers.head import WideHeadClassifier
from ppzoo.layers.inverted_residual_block import InvertedResidual, inverted_residual, inverted_residuals
from ppzoo.layers.modes import evaluation_mode
from ppzoo.layers.named_resnet import BranchConvBNLayer, NamedResNet, branch_names, named_deep_stem
from ppzoo.layers.native_layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BatchNorm,
    BatchNorm2D,
    Conv2D,
    Linear,
    MaxPool2D,
    activate,
    add,
    add_relu,
    channel_shuffle,
    concat,
    conv_norm_act,
    conv_relu,
    halve,
    has_synchronized_norms,
    is_plain,
    norm_act,
    relu,
    repvgg_branches,
    scale_channels,
    shuffled_concat,
    synchronize_norms,
    use_twice,
)
from ppzoo.layers.param_names import batch_norm, bias_attr, fan_in_uniform, linear, uniform_linear, weight_attr
from ppzoo.layers.reparam import Reparameterized, fuse_norm, fused_convolution, identity_kernel, pad_kernel
from ppzoo.layers.separable_conv import SeparableBlock, SeparableBlocks, conv_sequence
from ppzoo.layers.squeeze_excite import ConvSqueezeExcite, HardSigmoid, SELayer, clip_gate
from ppzoo.layers.stochastic_depth import StochasticDepth

__all__ = [
    "AdaptiveAvgPool2D",
    "AvgPool2D",
    "BatchNorm",
    "BatchNorm2D",
    "BiasedConvBNLayer",
    "BranchConvBNLayer",
    "Classifier",
    "Conv2D",
    "ConvBNLayer",
    "ConvSqueezeExcite",
    "DataFormat",
    "DiverseBranchBlock",
    "FeatureExtractor",
    "HardSigmoid",
    "InvertedResidual",
    "KaimingConvBNLayer",
    "LearnableAffineBlock",
    "Linear",
    "MaxPool2D",
    "NamedConvBNLayer",
    "NamedResNet",
    "Padding",
    "Reparameterized",
    "SELayer",
    "SeparableBlock",
    "SeparableBlocks",
    "StochasticDepth",
    "WideHeadClassifier",
    "activate",
    "activation",
    "add",
    "add_relu",
    "batch_norm",
    "bias_attr",
    "branch_names",
    "channel_shuffle",
    "clip_gate",
    "concat",
    "conv_norm_act",
    "conv_norm_act_affine",
    "conv_relu",
    "conv_sequence",
    "convolution",
    "deployed_network",
    "downscaled_dropout",
    "dropout",
    "evaluation_mode",
    "fan_in_uniform",
    "find_network_bfloat16_obstacle",
    "fuse_norm",
    "fused_convolution",
    "halve",
    "has_synchronized_norms",
    "identity_kernel",
    "inverted_residual",
    "inverted_residuals",
    "is_plain",
    "linear",
    "make_divisible",
    "named_deep_stem",
    "native_same_padding",
    "norm_act",
    "not_to_static",
    "pad_kernel",
    "relu",
    "repvgg_branches",
    "same_padding",
    "scale_channels",
    "shuffled_concat",
    "synchronize_norms",
    "uniform_linear",
    "use_twice",
    "weight_attr",
]

apply_backports()
