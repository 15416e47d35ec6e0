"""LeNet: two convolutions, two poolings, three linear layers.

LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 86,
1998, section II.B, figure 2 (LeNet-5). This is the widespread variant for color images of 32 x 32 pixels; it differs
from the paper in five details. The first convolution pads by one pixel (the paper pads the 28 x 28 digits to 32 x 32
beforehand, and no layer pads). Pooling takes the maximum (the paper averages, with a trained factor and bias per
channel). Every kernel of the second convolution has all six input channels (the paper's table I connects each to
some). The activation is ReLU (the paper: a scaled tanh), and the output layer is linear (the paper: Euclidean RBF
units).
"""

from __future__ import annotations

from ppzoo.errors import ConfigError
from ppzoo.layers import Classifier, Linear, MaxPool2D, conv_relu, convolution, relu
from ppzoo.models.catalog import register_variant

# Layer: output channels, and side of the output for images of 32 x 32 and of 28 x 28 pixels.
#   conv1  5x5, padding 1    6    30   26
#   pool1  2x2 / 2           6    15   13
#   conv2  5x5              16    11    9
#   pool2  2x2 / 2          16     5    4
#   fc1, fc2, fc3          120, 84, classes
MIN_IMAGE_SIZE = 14


class LeNet(Classifier):
    """LeNet-5.

    Args:
        class_num: number of classes.
        input_image_channel: channels of the images; 1 for grayscale.
        image_size: side of the square images, in pixels; it determines the size of the first linear layer.

    Shape: N x input_image_channel x image_size x image_size to N x class_num.

    Raises:
        ConfigError: the images are too small for the two convolutions and poolings.
    """

    head_layers = ("fc3",)

    def __init__(self, class_num: int = 10, *, input_image_channel: int = 3, image_size: int = 32) -> None:
        super().__init__()
        if image_size < MIN_IMAGE_SIZE:
            raise ConfigError(f"image_size: expected at least {MIN_IMAGE_SIZE} pixels, got {image_size}")
        self.conv1 = convolution(input_image_channel, 6, 5, padding=1)
        self.pool1 = MaxPool2D(2)
        self.conv2 = convolution(6, 16, 5, padding=0)
        self.pool2 = MaxPool2D(2)
        self.feature_layers = {2: "pool1", 4: "pool2"}
        side = ((image_size - 2) // 2 - 4) // 2
        self.fc1 = Linear(16 * side * side, 120)
        self.fc2 = Linear(120, 84)
        self.fc3 = Linear(84, class_num)

    def forward_features(self, x):
        x = self.pool1(conv_relu(self.conv1, x))
        return self.pool2(conv_relu(self.conv2, x))

    def forward_head(self, features):
        x = relu(self.fc1(features.flatten(1)))
        return self.fc3(relu(self.fc2(x)))


register_variant("LeNet", LeNet, image_shape=(3, 32, 32))
