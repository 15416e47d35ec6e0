"""What every network of the zoo can do besides answering class scores."""

from __future__ import annotations

import fnmatch
from typing import Literal

import paddle
from paddle import ParamAttr, nn

from ppzoo.errors import ConfigError, suggestion

DataFormat = Literal["NCHW", "NHWC"]

# For the `forward` of a network: exporting need not rewrite the source of every layer, whose steps never depend on the
# values that pass through. That takes a sixtieth of the time.
as_written = paddle.jit.not_to_static


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

    def __init__(self, data_format: DataFormat = "NCHW") -> None:
        super().__init__()
        self.data_format = data_format
        self.feature_layers: dict[int, str] = {}

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward_features")

    def forward_head(self, features: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward_head")

    def to_inner_layout(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images N x C x H x W in the layout in which the network computes."""
        return paddle.transpose(x, [0, 2, 3, 1]) if self.data_format == "NHWC" else x

    @as_written
    def forward(self, x: paddle.Tensor):
        """Class scores, N x class_num, of images N x C x H x W."""
        return self.forward_head(self.forward_features(self.to_inner_layout(x)))

    def reset_classifier(self, class_num: int) -> None:
        """Give the network a fresh head for `class_num` classes; parameter names stay."""
        for path in self.head_layers:
            holder, _, name = path.rpartition(".")
            layer = _resized(layer_at(self, path), class_num)
            setattr(layer_at(self, holder) if holder else self, name, layer)

    def freeze(self, *patterns: str) -> list[str]:
        """Keep parameters from training; batch norms among them normalize by their running statistics ever after.

        Args:
            patterns: shell patterns of structured names, such as "conv1.*"; none at all: everything but the head.

        Returns:
            The structured names of the parameters that are frozen, running statistics included.

        Raises:
            ConfigError: a pattern that matches no parameter.
        """
        parameters = dict(self.named_parameters())
        heads = tuple(f"{path}." for path in self.head_layers)
        chosen = {name for name in parameters if not (patterns or name.startswith(heads))}
        for pattern in patterns:
            matching = fnmatch.filter(parameters, pattern)
            if not matching:
                raise ConfigError(f"freeze: no parameter matches {pattern!r}{suggestion(pattern, parameters)}")
            chosen.update(matching)
        frozen = [name for name in parameters if name in chosen]
        for name in frozen:
            parameters[name].stop_gradient = True
        for layer in self.sublayers():
            if isinstance(layer, nn.BatchNorm) and layer.weight.stop_gradient:
                # Unlike the evaluation mode, which a network around this one would end by its `train`.
                layer._use_global_stats = True
        return frozen


class FeatureExtractor(nn.Layer):
    """The feature maps of a network, for detectors and segmenters.

    Args:
        network: one whose `feature_layers` are named.

    Attributes:
        strides: pixels of the image per pixel of each map, ascending.
        channels: channels of each map.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self.strides = sorted(network.feature_layers)
        self._maps: dict[int, paddle.Tensor] = {}
        for stride in self.strides:
            layer_at(network, network.feature_layers[stride]).register_forward_post_hook(self._keep(stride))
        self.channels = self._measure_channels()

    @as_written
    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Maps N x channels[i] x H/strides[i] x W/strides[i] of images N x C x H x W."""
        self.network.forward_features(self.network.to_inner_layout(x))
        maps = [self._maps.pop(stride) for stride in self.strides]
        if self.network.data_format == "NHWC":
            maps = [paddle.transpose(map_, [0, 3, 1, 2]) for map_ in maps]
        return maps

    def _keep(self, stride: int):
        def hook(layer, inputs, output) -> None:
            self._maps[stride] = output

        return hook

    def _measure_channels(self) -> list[int]:
        first = next(parameter for parameter in self.network.parameters() if parameter.ndim == 4)
        training = self.network.training
        self.network.eval()
        with paddle.no_grad():
            maps = self(paddle.zeros([1, first.shape[1], 64, 64]))
        if training:
            self.network.train()
        return [map_.shape[1] for map_ in maps]


def layer_at(network: nn.Layer, path: str) -> nn.Layer:
    """The sublayer at an attribute path such as "stage1.0.conv"; names within may contain dots themselves."""
    return dict(network.named_sublayers())[path]


def _resized(layer: nn.Layer, class_num: int) -> nn.Layer:
    """A fresh layer like `layer`, with its parameter names and initializers, for `class_num` outputs."""
    bias_attr = False if layer.bias is None else _attribute(layer.bias, layer._bias_attr)
    with paddle.utils.unique_name.guard():
        if isinstance(layer, nn.Conv2D):
            return type(layer)(
                layer._in_channels,
                class_num,
                layer._kernel_size,
                stride=layer._stride,
                padding=layer._padding,
                padding_mode=layer._padding_mode,
                dilation=layer._dilation,
                groups=layer._groups,
                weight_attr=_attribute(layer.weight, layer._param_attr),
                bias_attr=bias_attr,
                data_format=layer._data_format,
            )
        weight_attr = _attribute(layer.weight, layer._weight_attr)
        return type(layer)(layer.weight.shape[0], class_num, weight_attr=weight_attr, bias_attr=bias_attr)


def _attribute(parameter: paddle.Tensor, attribute: ParamAttr | None) -> ParamAttr:
    """The name of `parameter` with its training options, and the initializer of the attribute that made it."""
    return ParamAttr(
        name=parameter.name,
        initializer=attribute.initializer if attribute else None,
        learning_rate=parameter.optimize_attr["learning_rate"],
        regularizer=parameter.regularizer,
    )
