"""Knowledge distillation: several networks that receive the same images.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", arXiv:1503.02531. The options of the losses
(`DistillationCELoss`, `DistillationGTCELoss`, ...) define which network is the teacher and which is the student.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

import paddle
from paddle import nn

from ppzoo.errors import ConfigError, suggestion
from ppzoo.layers import Classifier


class DistillationModel(nn.Layer):
    """Several named networks; returns the output of each network by name.

    Structured names are prefixed with `NAME.`, as in PaddleClas. A frozen network stays in evaluation mode, so that a
    teacher has the same outputs in training as in inference. (PaddleClas only freezes the parameters: its teacher
    normalizes by the batch, applies dropout, and updates its running statistics.)

    Args:
        networks: the networks by name. If a parameter has the same name as one of an earlier network, its name gets the
            prefix `NAME_`, because the optimizer's state is keyed by parameter names.
        frozen: names of the networks that are not trained.
        inference_arch: name of the network that is used for inference.
        features: network name -> attribute paths of inner layers whose outputs are returned, too, such as "blocks5" or
            PaddleClas's form "blocks[0].expand_conv".

    Raises:
        ConfigError: a path in `features` names no layer, or the networks expect different numbers of image channels.

    Attributes:
        image_channels: channels of the images.
        derived_entries: patterns of entries in weight files that are ignored if the network lacks them: the weights of
            losses (see `add_loss_layers`).

    Shape: N x C x H x W to {name: N x class_num}; the output of a network with `features` is {"logits": N x class_num,
    path: output of the layer, N x channels x height x width}.
    """

    derived_entries = ("losses.*",)

    def __init__(
        self,
        networks: Mapping[str, Classifier],
        *,
        frozen: Collection[str],
        inference_arch: str,
        features: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.names, self.frozen, self.inference_arch = tuple(networks), frozenset(frozen), inference_arch
        channels = {name: network.image_channels for name, network in networks.items()}
        if len(set(channels.values())) > 1:
            got = ", ".join(f"{name} {count}" for name, count in channels.items())
            raise ConfigError(f"in_channels: expected the same number of image channels for all networks, got {got}")
        self.image_channels = next(iter(channels.values()), 3)
        taken: set[str] = set()
        for name, network in networks.items():
            self.add_sublayer(name, network)
            for parameter in network.parameters():
                if parameter.name in taken:
                    parameter.name = f"{name}_{parameter.name}"
                taken.add(parameter.name)
            if name in self.frozen:
                network.freeze("*")
                network.eval()
        self._features = {name: tuple(paths) for name, paths in (features or {}).items() if paths}
        self._outputs: dict[str, dict[str, paddle.Tensor]] = {name: {} for name in self._features}
        for name, paths in self._features.items():
            for path in paths:
                layer = _find_layer(networks[name], path, name)
                layer.register_forward_post_hook(self._store_output(name, path))

    def add_loss_layers(self, name: str, layers: nn.Layer) -> None:
        """Add the layers of a loss, so that they are trained and saved with the networks.

        The structured names of their weights begin with "losses.". Weight files need not contain these weights: they
        are only loaded when a training is resumed.
        """
        if "losses" not in self._sub_layers:
            self.losses = nn.Layer()
        self.losses.add_sublayer(name, layers)
        for parameter in layers.parameters():  # names are unique within a network only
            parameter.name = f"losses_{name}_{parameter.name}"

    @property
    def head_layers(self) -> tuple[str, ...]:
        """Attribute paths of the layers whose number of outputs is the number of classes."""
        return tuple(f"{name}.{path}" for name in self.names for path in self._sub_layers[name].head_layers)

    def train(self) -> None:
        super().train()
        for name in self.frozen:
            self._sub_layers[name].eval()

    def forward(self, x: paddle.Tensor) -> dict[str, paddle.Tensor | dict[str, paddle.Tensor]]:
        outputs = {}
        for name in self.names:
            with paddle.set_grad_enabled(name not in self.frozen and paddle.is_grad_enabled()):
                logits = self._sub_layers[name](x)
            outputs[name] = {"logits": logits, **self._pop_features(name)} if name in self._features else logits
        return outputs

    def _store_output(self, name: str, path: str) -> Callable[[nn.Layer, object, paddle.Tensor], None]:
        def hook(layer: nn.Layer, inputs: object, output: paddle.Tensor) -> None:
            self._outputs[name][path] = output

        return hook

    def _pop_features(self, name: str) -> dict[str, paddle.Tensor]:
        """Return the outputs that the hooks have stored, N x C x H x W, in the order of `features`.

        Raises:
            ConfigError: a layer was not called, because the network computes it together with its neighbors.
        """
        stored, self._outputs[name] = self._outputs[name], {}
        missing = [path for path in self._features[name] if path not in stored]
        if missing:
            problem = f"{missing[0]!r} of {name} has no output that can be read; choose a layer that contains it"
            raise ConfigError(f"return_patterns: {problem}")
        maps = {path: stored[path] for path in self._features[name]}
        if self._sub_layers[name].data_format == "NHWC":
            maps = {path: paddle.transpose(x, [0, 3, 1, 2]) if x.ndim == 4 else x for path, x in maps.items()}
        return maps


def _find_layer(network: Classifier, path: str, name: str) -> nn.Layer:
    """Return the layer at an attribute path, in which indices can be in brackets."""
    layers = dict(network.named_sublayers())
    dotted = re.sub(r"\[(\d+)\]", r".\1", path)
    if dotted not in layers:
        raise ConfigError(
            f"return_patterns: expected an inner layer of {name}, got {path!r}{suggestion(dotted, layers)}"
        )
    return layers[dotted]
