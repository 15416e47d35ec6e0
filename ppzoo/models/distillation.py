"""Knowledge distillation: several networks that receive the same images.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", arXiv:1503.02531. Which network is the teacher of
which is configured in the losses (`DistillationCELoss`, `DistillationGTCELoss`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import paddle
from paddle import nn

from ppzoo.layers import Classifier


class DistillationModel(nn.Layer):
    """Several named networks; returns the output of each network by name.

    Structured names are prefixed with `NAME.`, as in PaddleClas. A frozen network stays in evaluation mode, so that a
    teacher has the same outputs in training as in inference. (PaddleClas only freezes the parameters: its teacher
    normalizes by the batch, applies dropout, and updates its running statistics.)

    Args:
        networks: the networks by name. A parameter whose name an earlier network has, too, is renamed with the prefix
            `NAME_`, because the optimizer's state is keyed by parameter names.
        frozen: names of the networks that are not trained.
        inference_arch: name of the network that is used for inference.

    Shape: N x C x H x W to {name: N x class_num}.
    """

    def __init__(self, networks: Mapping[str, Classifier], *, frozen: Collection[str], inference_arch: str) -> None:
        super().__init__()
        self.names, self.frozen, self.inference_arch = tuple(networks), frozenset(frozen), inference_arch
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

    @property
    def head_layers(self) -> tuple[str, ...]:
        """Attribute paths of the layers whose number of outputs is the number of classes."""
        return tuple(f"{name}.{path}" for name in self.names for path in self._sub_layers[name].head_layers)

    def train(self) -> None:
        super().train()
        for name in self.frozen:
            self._sub_layers[name].eval()

    def forward(self, x: paddle.Tensor) -> dict[str, paddle.Tensor]:
        outputs = {}
        for name in self.names:
            with paddle.set_grad_enabled(name not in self.frozen and paddle.is_grad_enabled()):
                outputs[name] = self._sub_layers[name](x)
        return outputs
