"""Feature distillation with layers that adapt the student's features; they are trained with the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.losses.base import require_positive

POOLED_SIZES = (4, 2, 1)  # to which `ReviewKDLoss` also pools feature maps to compare them


class PEFDLoss(nn.Layer):
    """Projector ensemble: Chen et al., arXiv:2210.15274: 1 - the cosine of the features, averaged over the images.

    The student's features are the mean of several projections, each a 1 x 1 convolution and ReLU.

    Args:
        student_channel, teacher_channel: channels of the features of each network.
        num_projectors: number of projections, at least 1.
    """

    def __init__(self, *, student_channel: int, teacher_channel: int, num_projectors: int = 3) -> None:
        super().__init__()
        require_positive(
            student_channel=student_channel, teacher_channel=teacher_channel, num_projectors=num_projectors
        )
        self.projectors = nn.LayerList([nn.Conv2D(student_channel, teacher_channel, 1) for _ in range(num_projectors)])

    def forward(self, student: Sequence[paddle.Tensor], teacher: Sequence[paddle.Tensor]) -> paddle.Tensor:
        (one,), (other,) = student, teacher
        require_equal_sizes(one, other)
        projected = sum(F.relu(projector(one)) for projector in self.projectors) / len(self.projectors)
        return (1 - (unit_rows(projected) * unit_rows(other)).sum(axis=1)).mean()


class MGDLoss(nn.Layer):
    """Masked generative distillation: Yang et al., arXiv:2205.01529.

    Two 3 x 3 convolutions generate the teacher's features from the student's, of which random channels are 0. The loss
    is `alpha_mgd` times the mean squared difference.

    Args:
        student_channels, teacher_channels: channels of the features; if they differ, a 1 x 1 convolution adapts the
            student's.
        alpha_mgd: weight of the loss, above 0.
        lambda_mgd: probability of each channel to be 0, from 0 to below 1; only in training.
    """

    def __init__(
        self, *, student_channels: int, teacher_channels: int, alpha_mgd: float = 1.756, lambda_mgd: float = 0.15
    ) -> None:
        super().__init__()
        require_positive(student_channels=student_channels, teacher_channels=teacher_channels, alpha_mgd=alpha_mgd)
        if not 0 <= lambda_mgd < 1:
            raise ConfigError(f"lambda_mgd: expected a probability from 0 to below 1, got {lambda_mgd}")
        self.alpha, self.masked = alpha_mgd, lambda_mgd
        self.align = None
        if student_channels != teacher_channels:
            self.align = conv(student_channels, teacher_channels, 1)
        self.generation = nn.Sequential(
            conv(teacher_channels, teacher_channels, 3), nn.ReLU(), conv(teacher_channels, teacher_channels, 3)
        )

    def forward(self, student: Sequence[paddle.Tensor], teacher: Sequence[paddle.Tensor]) -> paddle.Tensor:
        (one,), (other,) = student, teacher
        require_equal_sizes(one, other)
        aligned = one if self.align is None else self.align(one)
        if self.training:
            kept = paddle.rand([*other.shape[:2], 1, 1]) >= self.masked
            aligned = aligned * kept.astype(aligned.dtype)
        return F.mse_loss(self.generation(aligned), other) * self.alpha


class ReviewKDLoss(nn.Layer):
    """Knowledge review: Chen et al., arXiv:2104.09044.

    From the last layer to the first, the student's features are fused with those of the later layers, and compared with
    the teacher's: the weighted mean of the squared differences of the feature maps, and of these pooled to 4 x 4, 2 x 2
    and 1 x 1 values.

    Args:
        student_channels, teacher_channels: channels of the features of each layer, from the first layer to the last.
        mid_channel: channels in which features are fused.
        hcl_mode: average or maximum pooling.
    """

    def __init__(
        self,
        *,
        student_channels: list[int],
        teacher_channels: list[int],
        mid_channel: int = 256,
        hcl_mode: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__()
        if not student_channels or len(student_channels) != len(teacher_channels):
            expected = f"as many values as student_channels ({len(student_channels)}), and at least one"
            raise ConfigError(f"teacher_channels: expected {expected}, got {teacher_channels}")
        require_positive(student_channels=min(student_channels), teacher_channels=min(teacher_channels))
        require_positive(mid_channel=mid_channel)
        last = len(student_channels) - 1
        self.fusions = nn.LayerList(
            [
                Fusion(one, mid_channel, other, has_later=index < last)
                for index, (one, other) in enumerate(zip(student_channels, teacher_channels, strict=True))
            ]
        )
        self.pool = F.adaptive_avg_pool2d if hcl_mode == "avg" else F.adaptive_max_pool2d

    def forward(self, student: Sequence[paddle.Tensor], teacher: Sequence[paddle.Tensor]) -> paddle.Tensor:
        if not len(student) == len(teacher) == len(self.fusions):
            got = f"{len(student)} and {len(teacher)}"
            raise ConfigError(f"s_key, t_key: expected {len(self.fusions)} layers, as in student_channels, got {got}")
        losses, later = [], None
        for fusion, one, other in zip(reversed(self.fusions), reversed(student), reversed(teacher), strict=True):
            require_equal_sizes(one, other)
            fitted, later = fusion(one, later)
            losses.append(self._difference(fitted, other))
        return sum(losses)

    def _difference(self, one: paddle.Tensor, other: paddle.Tensor) -> paddle.Tensor:
        total, weights, weight = F.mse_loss(one, other), 1.0, 1.0
        for size in POOLED_SIZES:
            if size < one.shape[2]:
                weight /= 2
                total = total + weight * F.mse_loss(self.pool(one, size), self.pool(other, size))
                weights += weight
        return total / weights


class Fusion(nn.Layer):
    """Attention-based fusion of a layer's features with those of the later layers, in `mid` channels.

    Shape: N x channels x H x W and N x mid x h x w to N x out x H x W and N x mid x H x W.
    """

    def __init__(self, channels: int, mid: int, out: int, *, has_later: bool) -> None:
        super().__init__()
        uniform = nn.initializer.KaimingUniform(negative_slope=1, nonlinearity="leaky_relu")
        self.conv1 = nn.Conv2D(channels, mid, 1, weight_attr=uniform, bias_attr=False)
        self.conv1_bn = nn.BatchNorm2D(mid)
        self.conv2 = nn.Conv2D(mid, out, 3, padding=1, weight_attr=uniform, bias_attr=False)
        self.conv2_bn = nn.BatchNorm2D(out)
        self.attention = conv(2 * mid, 2, 1) if has_later else None

    def forward(self, x: paddle.Tensor, later: paddle.Tensor | None) -> tuple[paddle.Tensor, paddle.Tensor]:
        x = self.conv1_bn(self.conv1(x))
        if self.attention is not None:
            later = F.interpolate(later, x.shape[2:], mode="nearest")
            weights = F.sigmoid(self.attention(paddle.concat([x, later], axis=1)))
            x = x * weights[:, :1] + later * weights[:, 1:]
        return self.conv2_bn(self.conv2(x)), x


def conv(channels: int, out: int, side: int) -> nn.Conv2D:
    """Return a convolution with weights of the standard deviation sqrt(2 / fan_out), which keeps height and width."""
    std = (2 / (out * side * side)) ** 0.5
    weights = nn.initializer.Normal(0.0, std)
    return nn.Conv2D(channels, out, side, padding=side // 2, weight_attr=weights)


def unit_rows(features: paddle.Tensor) -> paddle.Tensor:
    """Return the features of each image, N x D, divided by their length; features of 0 stay 0."""
    rows = features.flatten(1)
    return rows / (rows**2).sum(axis=1, keepdim=True).clip(min=1e-24).sqrt()


def require_equal_sizes(student: paddle.Tensor, teacher: paddle.Tensor) -> None:
    """Raise ConfigError unless two feature maps have the same height and width."""
    if student.ndim != 4 or student.shape[2:] != teacher.shape[2:]:
        got = f"{student.shape} and {teacher.shape}"
        raise ConfigError(f"s_key, t_key: expected layers with outputs of the same height and width, got {got}")
