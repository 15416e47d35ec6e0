"""Base of the distillation losses, and the distillation losses that are cross entropies.

The losses receive a dictionary of network name -> output of the network.

A network with `return_patterns` returns a dictionary of its logits (key "logits") and of the outputs of inner layers;
the option `key` of a loss, or a similar one such as `s_key`, selects one of them.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, suggestion
from ppzoo.losses.base import LOSSES, Loss, is_soft, logits_of
from ppzoo.losses.cross_entropy import CELoss
from ppzoo.losses.multi_label import MultiLabelLoss

LOGITS_KEYS = (None, "logits", "output")  # "output" is the key of PaddleClas before 2.3


class DistillationLoss(Loss):
    """Base of the distillation losses.

    Args:
        key: key of the output of a network that returns several; the logits by default.
        name: name of this loss in the logs; the class name by default.
    """

    networks = "several"

    def __init__(self, *, key: str | None = None, name: str | None = None) -> None:
        self.key = key
        self._name = name

    @property
    def name(self) -> str:
        return self._name or super().name

    def network_output(self, output: dict[str, Any], network: str) -> paddle.Tensor:
        """Return the output that `key` selects of the outputs of a network, in float32."""
        return self.select_output(output, network, self.key, "key")

    def select_output(self, output: dict[str, Any], network: str, key: str | None, option: str) -> paddle.Tensor:
        """Return an output of one of the networks in float32; errors name the option that contains `key`."""
        if network not in output:
            raise ConfigError(f"{type(self).__name__}: unknown network {network!r}{suggestion(network, output)}")
        found = output[network]
        if isinstance(found, dict) and key in found:
            return logits_of(found[key])
        if key in LOGITS_KEYS:
            return logits_of(found)
        if not isinstance(found, dict):
            expected = f"null or logits, since {network} has one output"
            fix = f"add it to return_patterns of {network}"
            raise ConfigError(f"{type(self).__name__}.{option}: expected {expected}, got {key!r}; {fix}")
        known = ", ".join(map(str, found))
        raise ConfigError(f"{type(self).__name__}.{option}: expected an output of {network} ({known}), got {key!r}")


class PairLoss(DistillationLoss):
    """Base of the losses of two networks, summed over the pairs.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`.
        key, name: see `DistillationLoss`.
    """

    network_options = ("model_name_pairs",)

    def __init__(self, *, model_name_pairs: list[list[str]], key: str | None = None, name: str | None = None) -> None:
        super().__init__(key=key, name=name)
        check_pairs(model_name_pairs)
        self.model_name_pairs = model_name_pairs

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        losses = []
        for student, teacher in self.model_name_pairs:
            one, other = self.network_output(output, student), self.network_output(output, teacher)
            if one.shape != other.shape:
                expected = f"expected outputs of {student} and {teacher} of the same shape"
                got = f"{list(one.shape)} and {list(other.shape)}"
                raise ConfigError(f"{type(self).__name__}: {expected}, got {got}")
            losses.append(self.pair_loss(one, other, label))
        return sum(losses)

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """Return the loss of a pair for the outputs of its networks."""
        raise NotImplementedError


class NetworkLoss(DistillationLoss):
    """Base of the losses of single networks with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks in `Arch.models`.
        loss: the loss of one network.
        key, name: see `DistillationLoss`.
    """

    network_options = ("model_names",)

    def __init__(self, *, model_names: list[str], loss: Loss, key: str | None = None, name: str | None = None) -> None:
        super().__init__(key=key, name=name)
        if not model_names:
            raise ConfigError("model_names: expected at least one network, got none")
        self.model_names = model_names
        self.loss = loss

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        return sum(self.loss(self.network_output(output, network), label) for network in self.model_names)

    def weight(self, label: paddle.Tensor) -> float:
        return self.loss.weight(label)


@LOSSES.register
class DistillationCELoss(PairLoss):
    """Cross entropy of a student's logits with the softmax of a teacher's, summed over the pairs.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        key: key of the logits if a network returns several outputs; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        use_hard_label: the targets are the teacher's most probable classes instead of its softmax.
        name: name of this loss in the logs; the class name by default.
    """

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        key: str | None = None,
        epsilon: float | None = None,
        use_hard_label: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        self.cross_entropy = CELoss(epsilon=epsilon)
        self.use_hard_label = use_hard_label

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        if self.use_hard_label:
            return self.cross_entropy(student, teacher.argmax(axis=-1))
        return self.cross_entropy(student, F.softmax(teacher.detach(), axis=-1))


@LOSSES.register
class DistillationGTCELoss(NetworkLoss):
    """Cross entropy of networks' logits with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks in `Arch.models`.
        key: key of the logits if a network returns several outputs; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "single"

    def __init__(
        self,
        *,
        model_names: list[str],
        key: str | None = None,
        epsilon: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_names=model_names, loss=CELoss(epsilon=epsilon), key=key, name=name)


@LOSSES.register
class DistillationMultiLabelLoss(NetworkLoss):
    """`MultiLabelLoss` of networks' logits with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks in `Arch.models`.
        epsilon, size_sum, weight_ratio: see `MultiLabelLoss`.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "multi"

    def __init__(
        self,
        *,
        model_names: list[str],
        epsilon: float | None = None,
        size_sum: bool = False,
        weight_ratio: bool = False,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        loss = MultiLabelLoss(epsilon=epsilon, size_sum=size_sum, weight_ratio=weight_ratio)
        super().__init__(model_names=model_names, loss=loss, key=key, name=name)


def check_pairs(model_name_pairs: list[list[str]]) -> None:
    """Raise ConfigError unless there is at least one pair, and each has two names."""
    if not model_name_pairs or any(len(pair) != 2 for pair in model_name_pairs):
        raise ConfigError(f"model_name_pairs: expected [[student, teacher], ...], got {model_name_pairs}")


def one_hot_labels(label: paddle.Tensor, teacher: paddle.Tensor, use_target_as_gt: bool) -> paddle.Tensor:
    """Return one-hot target classes, N x C: the labels (of soft labels the largest) or the teacher's predictions."""
    class_num = teacher.shape[-1]
    if use_target_as_gt:
        label = teacher.argmax(axis=-1)
    elif is_soft(label, class_num):
        label = label.argmax(axis=-1)
    return F.one_hot(label.flatten(), class_num)
