"""Feature distillation that finds by attention which layers of the student learn from which layers of the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.losses.base import require_positive

Shapes = list[list[int]]


class AFDLoss(nn.Layer):
    """Attention-based feature distillation: Ji, Heo, Park, "Show, Attend and Distill", arXiv:2102.02973.

    Each of the T layers of the teacher is compared with all S layers of the student; attention weighs the S
    differences. The feature maps are squared, averaged over the channels and normalized to unit length before they are
    compared. The linear layers that PaddleClas calls LinearTransformTeacher and LinearTransformStudent are layers of
    this loss.

    Args:
        s_shapes, t_shapes: shapes [channels, height, width] of the layers of student and teacher.
        qk_dim: number of values per query and key.
    """

    def __init__(self, *, s_shapes: Shapes, t_shapes: Shapes, qk_dim: int = 128) -> None:
        super().__init__()
        for name, shapes in (("s_shapes", s_shapes), ("t_shapes", t_shapes)):
            if not shapes or any(len(shape) != 3 or min(shape) < 1 for shape in shapes):
                raise ConfigError(f"{name}: expected a list of [channels, height, width], got {shapes}")
        require_positive(qk_dim=qk_dim)
        self.shapes = {"s_shapes": s_shapes, "t_shapes": t_shapes}
        self.qk_dim = qk_dim
        self.query = nn.LayerList([_linear(shape[0], qk_dim) for shape in t_shapes])
        self.key = nn.LayerList([_linear(shape[0], qk_dim) for shape in s_shapes])
        self.bilinear = _linear(qk_dim, qk_dim * len(t_shapes))
        normal = nn.initializer.XavierNormal()
        self.p_t = self.create_parameter([len(t_shapes), qk_dim], default_initializer=normal)
        self.p_s = self.create_parameter([len(s_shapes), qk_dim], default_initializer=normal)

    def forward(self, student: Sequence[paddle.Tensor], teacher: Sequence[paddle.Tensor]) -> paddle.Tensor:
        self._check("s_shapes", student)
        self._check("t_shapes", teacher)
        attention = self._attend(student, teacher)
        energies = [(x**2).mean(axis=1, keepdim=True) for x in student]
        pooled: dict[tuple[int, ...], paddle.Tensor] = {}
        losses = []
        for index, x in enumerate(teacher):
            size = tuple(x.shape[2:])
            if size not in pooled:
                maps = [F.adaptive_avg_pool2d(energy, size).flatten(1) for energy in energies]
                pooled[size] = paddle.stack([F.normalize(values, axis=1) for values in maps], axis=1)  # N x S x HW
            target = F.normalize((x**2).mean(axis=1).flatten(1), axis=1).unsqueeze(1)
            difference = ((pooled[size] - target) ** 2).mean(axis=2)
            losses.append((difference * attention[:, index]).sum(axis=1).mean())
        return sum(losses)

    def _attend(self, student: Sequence[paddle.Tensor], teacher: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Return the weight of each layer of the student for each layer of the teacher, N x T x S."""
        query = paddle.stack([layer(x.mean(axis=[2, 3])) for layer, x in zip(self.query, teacher, strict=True)], axis=1)
        keys = [F.relu(layer(x.mean(axis=[2, 3]))) for layer, x in zip(self.key, student, strict=True)]
        flat = paddle.stack(keys, axis=1).reshape([-1, self.qk_dim])
        key = self.bilinear(flat).reshape([-1, len(student), len(teacher), self.qk_dim])
        logits = (key * query.unsqueeze(1)).sum(axis=-1).transpose([0, 2, 1])
        logits = logits + paddle.matmul(self.p_t, self.p_s, transpose_y=True)
        return F.softmax(logits / self.qk_dim**0.5, axis=2)

    def _check(self, option: str, features: Sequence[paddle.Tensor]) -> None:
        got = [list(x.shape[1:]) for x in features]
        if got != self.shapes[option]:
            raise ConfigError(f"{option}: expected the shapes of the layers, {got}, got {self.shapes[option]}")


def _linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1D(outputs))
