"""Losses that compare the relations between the images of a batch in two networks."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError
from ppzoo.losses.base import LOSSES
from ppzoo.losses.distillation import DistillationLoss, check_pairs

TINY = 1e-12  # as in PaddleClas


@LOSSES.register
class DistillationRKDLoss(DistillationLoss):
    """Relational knowledge distillation, by distances and angles between images: Park et al., arXiv:1904.05068.

    The sum of the differences of two relations between the features of images: the distance of two images, relative to
    the mean distance in the batch, and the angle that two images form at a third one. A difference is the smooth
    absolute difference, averaged over all pairs or triplets. For N images of D features, computing the angles needs
    memory for N x N x D values; `target_size` reduces D.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        student_keepkeys: layers in `return_patterns` of the student whose outputs are compared.
        teacher_keepkeys: the layers of the teacher with which `student_keepkeys` are compared, in the same order.
        target_size: height and width to which feature maps are averaged; null compares complete feature maps.
        name: name of this loss in the logs; the class name by default.
    """

    network_options = ("model_name_pairs",)
    key_options = ("student_keepkeys", "teacher_keepkeys")

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        student_keepkeys: list[str],
        teacher_keepkeys: list[str],
        target_size: int | list[int] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_pairs(model_name_pairs)
        if not student_keepkeys or len(student_keepkeys) != len(teacher_keepkeys):
            expected = "as many layers as student_keepkeys, and at least one"
            raise ConfigError(f"teacher_keepkeys: expected {expected}, got {teacher_keepkeys} for {student_keepkeys}")
        sizes = [target_size] if isinstance(target_size, int) else target_size
        if sizes is not None and (len(sizes) not in (1, 2) or min(sizes) < 1):
            raise ConfigError(f"target_size: expected null, a positive integer or two of them, got {target_size}")
        self.model_name_pairs = model_name_pairs
        self.keys = list(zip(student_keepkeys, teacher_keepkeys, strict=True))
        self.target_size = target_size

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        losses = []
        for student, teacher in self.model_name_pairs:
            for student_key, teacher_key in self.keys:
                one = self._features(output, student, student_key, self.key_options[0])
                other = self._features(output, teacher, teacher_key, self.key_options[1]).detach()
                losses += [F.smooth_l1_loss(relation(one), relation(other)) for relation in (distances, angles)]
        return sum(losses)

    def _features(self, output: Any, network: str, key: str, option: str) -> paddle.Tensor:
        """Return the features of a layer, N x D."""
        found = self.select_output(output, network, key, option)
        if self.target_size is not None and found.ndim == 4:
            found = F.adaptive_avg_pool2d(found, self.target_size)
        return found.flatten(1)


def distances(features: paddle.Tensor) -> paddle.Tensor:
    """Return the Euclidean distances of all pairs of rows, N x N, divided by their mean."""
    # Rows relative to their mean have the same distances, with smaller rounding errors.
    rows = features - features.mean(axis=0, keepdim=True)
    squares = (rows**2).sum(axis=1)
    products = paddle.matmul(rows, rows, transpose_y=True)
    distance = (squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * products).clip(min=TINY).sqrt()
    return distance / (distance.mean() + TINY)


def angles(features: paddle.Tensor) -> paddle.Tensor:
    """Return the cosines of the angles that two rows form at a third one, N x N x N."""
    directions = F.normalize(features.unsqueeze(0) - features.unsqueeze(1), axis=2)
    return paddle.bmm(directions, directions.transpose([0, 2, 1]))
