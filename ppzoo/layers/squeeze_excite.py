"""Squeeze-and-excitation with linear layers, as the SE residual networks have it.

Hu, Shen, Albanie, Sun, Wu: "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507, figure 2.
"""

from __future__ import annotations

from paddle import nn
from paddle.nn import functional as F

from ppzoo.layers.native_layers import AdaptiveAvgPool2D, scale_channels
from ppzoo.layers.uniform_linear import uniform_linear


class SELayer(nn.Layer):
    """Weigh each channel by a number between 0 and 1 that is computed from the means of all channels.

    Args:
        channels: channels of the input and the output.
        reduction: the hidden layer has `channels // reduction` units.
        name: the parameters are `NAME_sqz_weights`, `NAME_sqz_offset`, `NAME_exc_weights`, `NAME_exc_offset`.
        data_format: layout of the input and the output, "NCHW" or "NHWC".

    Shape: N x channels x H x W to the same.
    """

    def __init__(
        self, channels: int, reduction: int = 16, *, name: str | None = None, data_format: str = "NCHW"
    ) -> None:
        super().__init__()
        self.spatial_axes = [1, 2] if data_format == "NHWC" else [2, 3]
        self.pool2d_gap = AdaptiveAvgPool2D(1, data_format=data_format)
        self.squeeze = uniform_linear(channels, channels // reduction, name and f"{name}_sqz")
        self.excitation = uniform_linear(channels // reduction, channels, name and f"{name}_exc")

    def forward(self, x):
        means = self.pool2d_gap(x).flatten(1)
        weights = F.sigmoid(self.excitation(F.relu(self.squeeze(means))))
        return scale_channels(x, weights.unsqueeze(self.spatial_axes))
