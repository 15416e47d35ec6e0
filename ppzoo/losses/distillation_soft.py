"""Further losses that compare a student's softened predictions with those of a teacher."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError
from ppzoo.losses.base import LOSSES, require_not_negative, require_positive
from ppzoo.losses.cross_entropy import log_softmax
from ppzoo.losses.distillation import PairLoss, one_hot_labels


@LOSSES.register
class DistillationWSLLoss(PairLoss):
    """Weighted soft labels, which count less where the student is better than the teacher: arXiv:2102.00650.

    Zhou et al.: "Rethinking Soft Labels for Knowledge Distillation". The cross entropy with the teacher's softened
    predictions counts less for images that the student predicts better than the teacher.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        temperature: divisor of the logits, above 0.
        use_target_as_gt: the target class is the teacher's prediction instead of the label.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "single"

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        temperature: float = 2.0,
        use_target_as_gt: bool = False,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        require_positive(temperature=temperature)
        self.temperature = temperature
        self.use_target_as_gt = use_target_as_gt

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        teacher = teacher.detach()
        target = one_hot_labels(label, teacher, self.use_target_as_gt)
        own, others = (-(target * log_softmax(logits)).sum(axis=1) for logits in (student.detach(), teacher))
        weight = 1 - paddle.exp(-(own / (others + 1e-7)).clip(min=0))
        soft = F.softmax(teacher / self.temperature, axis=-1)
        cost = -(soft * log_softmax(student / self.temperature)).sum(axis=1)
        return (cost * weight).mean() * self.temperature**2


@LOSSES.register
class DistillationSKDLoss(PairLoss):
    """Spherical knowledge distillation, which normalizes the logits: Guo et al., arXiv:2010.07485.

    Logits are normalized to mean 0 and variance 1 per image, and multiplied by `multiplier`. The loss is alpha times
    temperature ** 2 times the cross entropy with the teacher's softened predictions, plus 1 - alpha times the cross
    entropy with the labels.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        temperature: divisor of the normalized logits, above 0.
        multiplier: factor of the normalized logits, above 0.
        alpha: weight of the cross entropy with the teacher's predictions, from 0 to 1; that of the cross entropy with
            the labels is 1 - alpha.
        use_target_as_gt: the target class is the teacher's prediction instead of the label.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "single"

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        temperature: float,
        multiplier: float = 2.0,
        alpha: float = 0.9,
        use_target_as_gt: bool = False,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        require_positive(temperature=temperature, multiplier=multiplier)
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha: expected a number from 0 to 1, got {alpha}")
        self.temperature, self.multiplier, self.alpha = temperature, multiplier, alpha
        self.use_target_as_gt = use_target_as_gt

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        teacher = teacher.detach()
        target = one_hot_labels(label, teacher, self.use_target_as_gt)
        student, teacher = (
            F.layer_norm(logits, logits.shape[1:], epsilon=1e-7) * self.multiplier for logits in (student, teacher)
        )
        soft = F.softmax(teacher / self.temperature, axis=-1)
        distilled = -(soft * log_softmax(student / self.temperature)).sum(axis=1).mean() * self.temperature**2
        return self.alpha * distilled - (1 - self.alpha) * (target * log_softmax(student)).sum(axis=1).mean()


@LOSSES.register
class DistillationDISTLoss(PairLoss):
    """1 - the correlation of both networks' probabilities, per image and per class: Huang et al., arXiv:2205.10536.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        beta: weight of the correlation over the classes of each image, 0 or more.
        gamma: weight of the correlation over the images of each class, 0 or more.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        beta: float = 1.0,
        gamma: float = 1.0,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        require_not_negative(beta=beta, gamma=gamma)
        self.beta, self.gamma = beta, gamma

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        p, q = F.softmax(student, axis=-1), F.softmax(teacher.detach(), axis=-1)
        return self.beta * (1 - correlation(p, q, axis=1)) + self.gamma * (1 - correlation(p, q, axis=0))


def correlation(a: paddle.Tensor, b: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Return the Pearson correlation of two matrices along an axis, averaged over the other one."""
    a, b = (x - x.mean(axis=axis, keepdim=True) for x in (a, b))
    # The tiny value keeps the gradient of the root finite where all values are equal, as in a batch of one image.
    lengths = [(x**2).sum(axis=axis).clip(min=1e-16).sqrt() for x in (a, b)]
    return ((a * b).sum(axis=axis) / (lengths[0] * lengths[1] + 1e-8)).mean()
