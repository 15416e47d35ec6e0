"""The classification head of PaddleClas's own networks.

Pooling, a wide 1x1 convolution (optional), activation and dropout after it, and a linear layer.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers.basic import activation, downscaled_dropout
from ppzoo.layers.classifier import Classifier
from ppzoo.layers.native_layers import AdaptiveAvgPool2D, Conv2D, Linear


class WideHeadClassifier(Classifier):
    """Base class of networks with the head of MobileNetV3 (Howard et al., arXiv:1905.02244, section 5.1).

    A subclass builds its layers and then calls `build_head`.
    """

    head_layers = ("fc",)

    def build_head(
        self,
        channels: int,
        class_num: int,
        *,
        use_last_conv: bool,
        class_expand: int,
        dropout_prob: float,
        act: str,
        weight_init: nn.initializer.Initializer | None = None,
        lab: nn.Layer | None = None,
    ) -> None:
        """Add the layers of the head.

        Args:
            channels: channels of the features.
            class_num: number of classes.
            use_last_conv: whether there is a 1x1 convolution to `class_expand` channels, followed by dropout, between
                the pooling and the linear layer.
            class_expand: channels of that convolution.
            dropout_prob: rate of the dropout (see `downscaled_dropout`).
            act: name of the activation after that convolution.
            weight_init: initializer of that convolution; by default PaddlePaddle's.
            lab: a layer after that activation; none by default.
        """
        self.avg_pool = AdaptiveAvgPool2D(1)
        self.use_last_conv = use_last_conv
        if use_last_conv:
            self.last_conv = Conv2D(channels, class_expand, 1, weight_attr=weight_init, bias_attr=False)
            self.act = activation(act)
            self.lab = lab
            self.dropout = downscaled_dropout(dropout_prob)
        self.fc = Linear(class_expand if use_last_conv else channels, class_num)

    def forward_head(self, features):
        x = self.avg_pool(features)
        if self.use_last_conv:
            x = self.act(self.last_conv(x))
            x = self.dropout(x if self.lab is None else self.lab(x))
        return self.fc(x.flatten(1))
