"""Base class of all networks (head replacement, freezing), the feature extractor, and the parts of a network."""

from __future__ import annotations

import fnmatch
from typing import Literal

import paddle
from paddle import ParamAttr, nn

from ppzoo.errors import ConfigError, suggestion
from ppzoo.layers.reparam import Reparameterized
from ppzoo.paddle_internals import conv_options, parameter_attributes, use_running_statistics

DataFormat = Literal["NCHW", "NHWC"]

# Decorates the `forward` of networks. Their control flow does not depend on tensor values, so an export can trace the
# layers instead of transforming their source code; the transformation takes 60 times as long.
not_to_static = paddle.jit.not_to_static


class Classifier(nn.Layer):
    """Base class of the networks.

    A subclass defines `forward_features` (from images to the feature map or vector before the head) and `forward_head`
    (from there to logits), and lists in `head_layers` its last layers, the only ones that depend on the number of
    classes.

    Attributes:
        architecture: name of the architecture, for messages.
        image_channels: channels of the images.
        head_layers: attribute paths of the layers whose number of outputs is the number of classes.
        derived_entries: shell patterns of entries in weight files that are computed from other entries. They are
            ignored if the network lacks them.
        feature_layers: stride in pixels -> attribute path of the layer whose output is the feature map of that stride.
        data_format: layout inside the network; the input is always NCHW.
    """

    head_layers: tuple[str, ...] = ()
    derived_entries: tuple[str, ...] = ()
    architecture = ""
    image_channels = 3
    _stem_paths: tuple[str, ...] = ()

    def __init__(self, data_format: DataFormat = "NCHW") -> None:
        super().__init__()
        self.data_format = data_format
        self.feature_layers: dict[int, str] = {}

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward_features")

    def forward_head(self, features: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward_head")

    def to_inner_layout(self, x: paddle.Tensor) -> paddle.Tensor:
        """Convert images N x C x H x W to the layout inside the network."""
        return paddle.transpose(x, [0, 2, 3, 1]) if self.data_format == "NHWC" else x

    @not_to_static
    def forward(self, x: paddle.Tensor):
        """Return the logits, N x class_num, of images N x C x H x W."""
        return self.forward_head(self.forward_features(self.to_inner_layout(x)))

    def reset_classifier(self, class_num: int) -> None:
        """Replace the head by a newly initialized one for `class_num` classes; parameter names stay the same."""
        for path in self.head_layers:
            layer = sublayer_at(self, path)
            self._replace(layer, _resized(layer, class_num))

    def reset_stem(self, in_channels: int) -> None:
        """Replace the convolutions that read the images by newly initialized ones for images of `in_channels` channels.

        Parameter names stay the same.
        """
        self._stem_paths = self.stem_paths
        for path in self._stem_paths:
            layer = sublayer_at(self, path)
            self._replace(layer, _resized_convolution(layer, in_channels, conv_options(layer).out_channels))
        self.image_channels = in_channels

    @property
    def stem_paths(self) -> tuple[str, ...]:
        """Attribute paths of the convolutions that read the images.

        These are the convolutions that have `image_channels` input channels before the first call of `reset_stem`.
        """
        return self._stem_paths or tuple(
            path
            for path, layer in self.named_sublayers()
            if isinstance(layer, nn.Conv2D) and conv_options(layer).in_channels == self.image_channels
        )

    def _replace(self, old: nn.Layer, new: nn.Layer) -> None:
        for parent in self.sublayers(include_self=True):
            for name, layer in list(parent.named_children()):
                if layer is old:
                    setattr(parent, name, new)

    @property
    def has_branches(self) -> bool:
        """Whether the network has re-parameterized blocks, whose branches `fuse` fuses; true after `fuse` as well."""
        return any(isinstance(layer, Reparameterized) for layer in self.sublayers())

    def fuse(self) -> Classifier:
        """Fuse the parallel branches of re-parameterized blocks for inference, and return the network.

        Outputs in evaluation stay the same up to rounding. The network cannot be trained further, and its state dict
        has other entries. Networks without such blocks are unchanged.
        """
        for layer in self.sublayers():
            if isinstance(layer, Reparameterized):
                layer.fuse()
        return self

    def freeze(self, *patterns: str) -> list[str]:
        """Exclude parameters from training; frozen batch norms normalize by their running statistics from then on.

        Args:
            patterns: shell patterns of structured names, such as "conv1.*"; without patterns, everything but the head
                is frozen.

        Returns:
            The structured names of the frozen parameters, including running statistics.

        Raises:
            ConfigError: a pattern matches no parameter.
        """
        parameters = dict(self.named_parameters())
        heads = tuple(f"{path}." for path in self.head_layers)
        selected = {name for name in parameters if not (patterns or name.startswith(heads))}
        for pattern in patterns:
            matching = fnmatch.filter(parameters, pattern)
            if not matching:
                raise ConfigError(f"no parameter matches {pattern!r}{suggestion(pattern, parameters)}")
            selected.update(matching)
        frozen = [name for name in parameters if name in selected]
        for name in frozen:
            parameters[name].stop_gradient = True
        for layer in self.sublayers():
            if isinstance(layer, nn.BatchNorm) and layer.weight.stop_gradient:
                # Not `layer.eval()`: calling `train()` on a network that contains this one would undo it.
                use_running_statistics(layer)
        return frozen


class FeatureExtractor(nn.Layer):
    """Computes the feature maps of a network, for detection and segmentation.

    Args:
        network: a network with `feature_layers`.

    Attributes:
        strides: stride of each feature map in pixels, ascending.
        channels: channels of each feature map.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self.strides = sorted(network.feature_layers)
        self._maps: dict[int, paddle.Tensor] = {}
        for stride in self.strides:
            sublayer_at(network, network.feature_layers[stride]).register_forward_post_hook(self._store_map(stride))
        self.channels = self._measure_channels()

    @not_to_static
    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Return the maps of images N x C x H x W: N x channels[i] x about H/strides[i] x about W/strides[i]."""
        self.network.forward_features(self.network.to_inner_layout(x))
        maps = [self._maps.pop(stride) for stride in self.strides]
        if self.network.data_format == "NHWC":
            maps = [paddle.transpose(map_, [0, 3, 1, 2]) for map_ in maps]
        return maps

    def _store_map(self, stride: int):
        def hook(layer, inputs, output) -> None:
            self._maps[stride] = output

        return hook

    def _measure_channels(self) -> list[int]:
        training = self.network.training
        self.network.eval()
        with paddle.no_grad():
            maps = self(paddle.zeros([1, self.network.image_channels, 64, 64]))
        if training:
            self.network.train()
        return [map_.shape[1] for map_ in maps]


def sublayer_at(network: nn.Layer, path: str) -> nn.Layer:
    """Return the sublayer at an attribute path such as "stage1.0.conv"; attribute names can contain dots."""
    return dict(network.named_sublayers())[path]


def deployed_network(model: nn.Layer) -> nn.Layer:
    """Return the network that is used after training: of a distillation, the one that its `inference_arch` names."""
    name = getattr(model, "inference_arch", None)
    return model if name is None else dict(model.named_children())[name]


class HeadInput:
    """Stores the features of a network (the input of its first head layer) whenever the network runs.

    If this layer is a convolution (NIN, SqueezeNet), the features are the mean of its input over height and width.
    """

    def __init__(self, network: Classifier) -> None:
        self._received: list[paddle.Tensor] = []
        head = sublayer_at(network, network.head_layers[0])
        self._hook = head.register_forward_pre_hook(self._receive)

    def take(self) -> paddle.Tensor:
        """Return the features of the latest batch, N x D."""
        features = self._received.pop()
        return features.mean([2, 3]) if features.ndim == 4 else features

    def store(self, features: paddle.Tensor) -> None:
        """Store the features of a batch that an export of the network computed."""
        self._received[:] = [features]

    def remove(self) -> None:
        """Leave the network as it was."""
        self._hook.remove()

    def _receive(self, layer: nn.Layer, inputs: tuple[paddle.Tensor, ...]) -> None:
        self.store(inputs[0])


def _resized(layer: nn.Layer, class_num: int) -> nn.Layer:
    """Build a layer like `layer` with `class_num` outputs, with its parameter names and initializers."""
    if isinstance(layer, nn.Conv2D):
        return _resized_convolution(layer, conv_options(layer).in_channels, class_num)
    with paddle.utils.unique_name.guard():
        return type(layer)(layer.weight.shape[0], class_num, **_parameter_arguments(layer))


def _resized_convolution(layer: nn.Conv2D, in_channels: int, out_channels: int) -> nn.Conv2D:
    """Build a convolution like `layer` with other channels, with its parameter names and initializers."""
    options = conv_options(layer)
    with paddle.utils.unique_name.guard():
        return type(layer)(
            in_channels,
            out_channels,
            options.kernel_size,
            stride=options.stride,
            padding=options.padding,
            padding_mode=options.padding_mode,
            dilation=options.dilation,
            groups=options.groups,
            data_format=options.data_format,
            **_parameter_arguments(layer),
        )


def _parameter_arguments(layer: nn.Layer) -> dict[str, ParamAttr | Literal[False]]:
    """Return the constructor's arguments for weight and bias of a layer like `layer`."""
    weight, bias = parameter_attributes(layer)
    return {
        "weight_attr": _parameter_attribute(layer.weight, weight),
        "bias_attr": False if layer.bias is None else _parameter_attribute(layer.bias, bias),
    }


def _parameter_attribute(parameter: paddle.Tensor, attribute: ParamAttr | None) -> ParamAttr:
    """Return the attribute of a new parameter: name and training options of `parameter`, initializer of `attribute`."""
    return ParamAttr(
        name=parameter.name,
        initializer=attribute.initializer if attribute else None,
        learning_rate=parameter.optimize_attr["learning_rate"],
        regularizer=parameter.regularizer,
    )
