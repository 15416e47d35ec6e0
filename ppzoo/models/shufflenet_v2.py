"""ShuffleNetV2: channels are split, one half is filtered, and a shuffle mixes the halves.

Ma, Zhang, Zheng, Sun: "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
arXiv:1807.11164, figure 3c, 3d (the units) and table 5 (the widths; x0_25, x0_33 and swish are PaddleClas's own).
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Classifier,
    MaxPool2D,
    NamedConvBNLayer,
    conv_sequence,
    halve,
    inverted_residual,
    linear,
    shuffled_concat,
)
from ppzoo.models.catalog import Weights, register_variant

# Scale -> output channels of stages 2, 3, 4 and of the last convolution: table 5.
WIDTHS = {
    0.25: (24, 48, 96, 512),
    0.33: (32, 64, 128, 512),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
# Units of stages 2, 3 and 4, the first of each with stride 2.
REPEATS = [4, 8, 4]
STEM_WIDTH = 24


class ConvBNLayer(NamedConvBNLayer):
    """Convolution with Kaiming initialization, batch norm, activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, name: str, **options) -> None:
        init = nn.initializer.KaimingNormal()
        super().__init__(in_channels, out_channels, kernel_size, name=name, weight_init=init, **options)


class InvertedResidual(nn.Layer):
    """Figure 3c: half of the channels pass unchanged, the other half is convolved.

    Shape: N x channels x H x W to the same.
    """

    def __init__(self, channels: int, *, act: str, name: str) -> None:
        super().__init__()
        half = channels // 2
        self._conv_pw = ConvBNLayer(half, half, 1, act=act, name=f"{name}_conv1")
        self._conv_dw = ConvBNLayer(half, half, 3, groups=half, act=None, name=f"{name}_conv2")
        self._conv_linear = ConvBNLayer(half, half, 1, act=act, name=f"{name}_conv3")

    def forward(self, x):
        passed, x = halve(x)
        x = inverted_residual(self._conv_pw, self._conv_dw, self._conv_linear, x)
        return shuffled_concat([passed, x])


class InvertedResidualDS(nn.Layer):
    """Figure 3d, which halves the size: both branches receive all channels, and each computes half of the output.

    Shape: N x in_channels x H x W to N x out_channels x H/2 x W/2.
    """

    def __init__(self, in_channels: int, out_channels: int, *, act: str, name: str) -> None:
        super().__init__()
        half = out_channels // 2
        self._conv_dw_1 = ConvBNLayer(
            in_channels, in_channels, 3, stride=2, groups=in_channels, act=None, name=f"{name}_conv4"
        )
        self._conv_linear_1 = ConvBNLayer(in_channels, half, 1, act=act, name=f"{name}_conv5")
        self._conv_pw_2 = ConvBNLayer(in_channels, half, 1, act=act, name=f"{name}_conv1")
        self._conv_dw_2 = ConvBNLayer(half, half, 3, stride=2, groups=half, act=None, name=f"{name}_conv2")
        self._conv_linear_2 = ConvBNLayer(half, half, 1, act=act, name=f"{name}_conv3")

    def forward(self, x):
        first = conv_sequence([self._conv_dw_1, self._conv_linear_1], x)
        second = inverted_residual(self._conv_pw_2, self._conv_dw_2, self._conv_linear_2, x)
        return shuffled_concat([first, second])


class ShuffleNet(Classifier):
    """ShuffleNetV2.

    Args:
        class_num: number of classes.
        scale: a key of `WIDTHS`.
        act: name of the activation.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("_fc",)

    def __init__(self, class_num: int = 1000, *, scale: float = 1.0, act: str = "relu") -> None:
        super().__init__()
        *widths, last_width = WIDTHS[scale]
        channels = STEM_WIDTH
        self._conv1 = ConvBNLayer(3, channels, 3, stride=2, act=act, name="stage1_conv")
        self._max_pool = MaxPool2D(3, stride=2, padding=1)
        self.feature_layers[4] = "_max_pool"

        self.unit_names: list[str] = []
        for stage, (width, repeats) in enumerate(zip(widths, REPEATS, strict=True), start=2):
            for number in range(1, repeats + 1):
                key = f"{stage}_{number}"
                if number == 1:
                    unit = InvertedResidualDS(channels, width, act=act, name=f"stage_{key}")
                else:
                    unit = InvertedResidual(width, act=act, name=f"stage_{key}")
                self.add_sublayer(key, unit)
                self.unit_names.append(key)
            channels = width
            self.feature_layers[2 ** (stage + 1)] = key

        self._last_conv = ConvBNLayer(channels, last_width, 1, act=act, name="conv5")
        self._pool2d_avg = AdaptiveAvgPool2D(1)
        self._fc = linear(last_width, class_num, "fc6")

    def forward_features(self, x):
        x = self._max_pool(self._conv1(x))
        for name in self.unit_names:
            x = self._sub_layers[name](x)
        return self._last_conv(x)

    def forward_head(self, features):
        return self._fc(self._pool2d_avg(features).flatten(1))


# Scale and activation; published top-1, top-5, 10^9 multiply-adds, 10^6 parameters.
VARIANTS = {
    "ShuffleNetV2_x0_25": (0.25, "relu", (0.499, 0.7379, 0.01895, 0.61)),
    "ShuffleNetV2_x0_33": (0.33, "relu", (0.5373, 0.7705, 0.02404, 0.65)),
    "ShuffleNetV2_x0_5": (0.5, "relu", (0.6032, 0.8226, 0.04258, 1.37)),
    "ShuffleNetV2_x1_0": (1.0, "relu", (0.688, 0.8845, 0.14886, 2.29)),
    "ShuffleNetV2_x1_5": (1.5, "relu", (0.7163, 0.9015, 0.30135, 3.53)),
    "ShuffleNetV2_x2_0": (2.0, "relu", (0.7315, 0.912, 0.5717, 7.4)),
    "ShuffleNetV2_swish": (1.0, "swish", (0.7003, 0.8917, 0.14886, 2.29)),
}
for _name, (_scale, _act, _published) in VARIANTS.items():
    register_variant(
        _name,
        ShuffleNet,
        scale=_scale,
        act=_act,
        weights=Weights(f"{_name}_pretrained.pdparams", *_published),
    )
