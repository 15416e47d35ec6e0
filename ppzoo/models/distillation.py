"""Networks that look at the same images, so that one can learn from another: knowledge distillation.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", arXiv:1503.02531. Which network teaches which is
for the losses to say (`DistillationCELoss`, `DistillationGTCELoss`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import paddle
from paddle import nn

from ppzoo.layers import Classifier


class DistillationModel(nn.Layer):
    """Networks by name; answers {name: what that network answers}.

    A state dict has `NAME.` before the names of each network's own, as PaddleClas's has. A frozen network stays in
    evaluation mode, so that a teacher teaches what it answers when it is used. (PaddleClas freezes the parameters
    alone: its teacher normalizes by the batch, drops out, and its running statistics drift.)

    Args:
        networks: by name. Parameters whose names would clash with an earlier network's get `NAME_` before them, for
            the optimizer's state is keyed by parameter names.
        frozen: names of those that are not trained.
        answering: name of the one that is used in the end.

    Shape: N x C x H x W to {name: N x class_num}.
    """

    def __init__(self, networks: Mapping[str, Classifier], *, frozen: Collection[str], answering: str) -> None:
        super().__init__()
        self.names, self.frozen, self.answering = tuple(networks), frozenset(frozen), answering
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
        """Attribute paths of the layers whose size is the number of classes."""
        return tuple(f"{name}.{path}" for name in self.names for path in self._sub_layers[name].head_layers)

    def train(self) -> None:
        super().train()
        for name in self.frozen:
            self._sub_layers[name].eval()

    def forward(self, x: paddle.Tensor) -> dict:
        answers = {}
        for name in self.names:
            with paddle.set_grad_enabled(name not in self.frozen and paddle.is_grad_enabled()):
                answers[name] = self._sub_layers[name](x)
        return answers
