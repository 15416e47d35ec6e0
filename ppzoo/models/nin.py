"""NIN: each convolution is followed by 1x1 convolutions, which form a small multilayer perceptron for each pixel.

Lin, Chen, Yan: "Network In Network", arXiv:1312.4400, section 3: mlpconv layers (3.1) and global average pooling
in place of linear layers (3.2). The paper has no table for ImageNet; the stages are those of the widespread variant
with AlexNet's kernel sizes and with dropout before the last block only (the paper: after every block but the last).
"""

from __future__ import annotations

import paddle
from paddle import nn

from ppzoo.layers import AdaptiveAvgPool2D, Classifier, MaxPool2D, convolution, downscaled_dropout
from ppzoo.models.catalog import register_variant

# Output channels, kernel size, stride, padding of each block's first convolution. 224 x 224 pixels become 54 x 54, and
# then 26 x 26, 12 x 12 and 5 x 5 by 3x3 max pooling with stride 2; the last block has `class_num` channels.
STAGES = [
    (96, 11, 4, 0),
    (256, 5, 1, 2),
    (384, 3, 1, 1),
]


class MLPConv(nn.Sequential):
    """A convolution and two 1x1 convolutions, `conv1` to `conv3`, each followed by ReLU.

    Shape: N x in_channels x H x W to N x out_channels x H' x W'; H' and W' are those of the first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int) -> None:
        super().__init__(
            ("conv1", convolution(in_channels, out_channels, kernel_size, stride=stride, padding=padding)),
            ("relu1", nn.ReLU()),
            ("conv2", convolution(out_channels, out_channels, 1)),
            ("relu2", nn.ReLU()),
            ("conv3", convolution(out_channels, out_channels, 1)),
            ("relu3", nn.ReLU()),
        )


class NIN(Classifier):
    """Network in Network.

    Args:
        class_num: number of classes, and of output channels of all three convolutions of the last block.
        dropout: rate of the dropout before the last block.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("block4.conv1", "block4.conv2", "block4.conv3")

    def __init__(self, class_num: int = 1000, *, dropout: float = 0.5) -> None:
        super().__init__()
        channels = 3
        for number, (width, kernel_size, stride, padding) in enumerate(STAGES, start=1):
            block = MLPConv(channels, width, kernel_size, stride=stride, padding=padding)
            self.add_sublayer(f"block{number}", block)
            self.add_sublayer(f"pool{number}", MaxPool2D(3, stride=2))
            channels = width
        self.feature_layers = {4: "block1", 8: "block2", 16: "block3", 32: "pool3"}

        self.drop = downscaled_dropout(dropout)
        self.block4 = MLPConv(channels, class_num, 3, stride=1, padding=1)
        self.pool2d_avg = AdaptiveAvgPool2D(1)

    def reset_classifier(self, class_num: int) -> None:
        """Replace the last block: the sizes of its three convolutions depend on each other."""
        with paddle.utils.unique_name.guard():
            self.block4 = NIN(class_num).block4

    def forward_features(self, x):
        for number in range(1, len(STAGES) + 1):
            x = self._sub_layers[f"block{number}"](x)
            x = self._sub_layers[f"pool{number}"](x)
        return x

    def forward_head(self, features):
        return self.pool2d_avg(self.block4(self.drop(features))).flatten(1)


register_variant("NIN", NIN)
