"""What every network of the zoo can do besides answering class scores."""

from __future__ import annotations

import paddle
from paddle import nn


class Classifier(nn.Layer):
    """Base class of the networks.

    A network defines `forward_features` (images to the feature map or vector before its head) and `forward_head`
    (from there to class scores), and names its last layers in `head_layers`: those are the only ones that
    depend on the number of classes.

    Attributes:
        head_layers: attribute paths of the layers whose size is the number of classes.
        feature_layers: stride in pixels -> attribute path of the layer whose output is the feature map there.
        data_format: layout inside the network; the input is NCHW in any case.
    """

    head_layers: tuple[str, ...] = ()

    def __init__(self, data_format: str = "NCHW") -> None:
        super().__init__()
        self.data_format = data_format
        self.feature_layers: dict[int, str] = {}

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward_features")

    def forward_head(self, features: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward_head")

    def forward(self, x: paddle.Tensor):
        """Class scores, N x class_num, of images N x C x H x W."""
        if self.data_format == "NHWC":
            x = paddle.transpose(x, [0, 2, 3, 1])
        return self.forward_head(self.forward_features(x))
