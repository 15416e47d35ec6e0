"""`DistillationPairLoss`: the distillation losses that have layers with weights."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import paddle
from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.losses.attention_features import AFDLoss, Shapes
from ppzoo.losses.base import LOSSES
from ppzoo.losses.distillation import DistillationLoss, check_pairs
from ppzoo.losses.feature_layers import MGDLoss, PEFDLoss, ReviewKDLoss

BASES: dict[str, type[nn.Layer]] = {base.__name__: base for base in (AFDLoss, MGDLoss, PEFDLoss, ReviewKDLoss)}
# The options of which `s_key` and `t_key` have to be lists, too: one value per layer.
LISTS = {"AFDLoss": ("s_shapes", "t_shapes"), "ReviewKDLoss": ("student_channels", "teacher_channels")}
Keys = str | list[str] | None


@LOSSES.register
class DistillationPairLoss(DistillationLoss):
    """Feature distillation by a loss with layers that are trained with the student; summed over the pairs.

    The weights of these layers are in the checkpoints of the run, but not in those of the student alone.

    Args:
        base_loss_name: AFDLoss (arXiv:2102.02973), MGDLoss (arXiv:2205.01529), PEFDLoss (arXiv:2210.15274) or
            ReviewKDLoss (arXiv:2104.09044).
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        s_key: layer in `return_patterns` of the student; for AFDLoss and ReviewKDLoss a list, from the first layer to
            the last. `s_key` or `s_keys` is required.
        t_key: the same for the teacher.
        s_keys: another name of `s_key`.
        t_keys: another name of `t_key`.
        student_channel: PEFDLoss (required): number of channels of the student's features.
        teacher_channel: PEFDLoss (required): number of channels of the teacher's features.
        num_projectors: PEFDLoss: number of projections of the student's features, at least 1; 3 by default.
        student_channels: MGDLoss (required): number of channels of the student's features. ReviewKDLoss (required): a
            list, with the number for each layer.
        teacher_channels: the same for the teacher.
        alpha_mgd: MGDLoss: weight of the loss, above 0; 1.756 by default.
        lambda_mgd: MGDLoss: probability that a channel is set to 0 in training, from 0 to below 1; 0.15 by default.
        mid_channel: ReviewKDLoss: number of channels of the fused features; 256 by default.
        hcl_mode: ReviewKDLoss: pooling of the features that are compared: average ("avg", the default) or maximum
            ("max").
        s_shapes: AFDLoss (required): shapes [channels, height, width] of the student's layers.
        t_shapes: AFDLoss (required): shapes [channels, height, width] of the teacher's layers.
        qk_dim: AFDLoss: dimension of the attention's queries and keys; 128 by default.
        name: name of this loss in the logs; the class name by default.
    """

    network_options = ("model_name_pairs",)
    key_options = ("s_key", "t_key", "s_keys", "t_keys")

    def __init__(
        self,
        *,
        base_loss_name: Literal["AFDLoss", "MGDLoss", "PEFDLoss", "ReviewKDLoss"],
        model_name_pairs: list[list[str]],
        s_key: Keys = None,
        t_key: Keys = None,
        s_keys: Keys = None,
        t_keys: Keys = None,
        student_channel: int | None = None,
        teacher_channel: int | None = None,
        num_projectors: int | None = None,
        student_channels: int | list[int] | None = None,
        teacher_channels: int | list[int] | None = None,
        alpha_mgd: float | None = None,
        lambda_mgd: float | None = None,
        mid_channel: int | None = None,
        hcl_mode: Literal["avg", "max"] | None = None,
        s_shapes: Shapes | None = None,
        t_shapes: Shapes | None = None,
        qk_dim: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_pairs(model_name_pairs)
        self.model_name_pairs = model_name_pairs
        self.student_keys = _list_keys("s_key", s_key, s_keys)
        self.teacher_keys = _list_keys("t_key", t_key, t_keys)
        options = {
            "student_channel": student_channel,
            "teacher_channel": teacher_channel,
            "num_projectors": num_projectors,
            "student_channels": student_channels,
            "teacher_channels": teacher_channels,
            "alpha_mgd": alpha_mgd,
            "lambda_mgd": lambda_mgd,
            "mid_channel": mid_channel,
            "hcl_mode": hcl_mode,
            "s_shapes": s_shapes,
            "t_shapes": t_shapes,
            "qk_dim": qk_dim,
        }
        given = {key: value for key, value in options.items() if value is not None}
        self.compare = self.layers = _build_layers(base_loss_name, given)
        if base_loss_name not in LISTS and not len(self.student_keys) == len(self.teacher_keys) == 1:
            got = f"{self.student_keys} and {self.teacher_keys}"
            raise ConfigError(f"s_key: expected one layer of each network for {base_loss_name}, got {got}")

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        losses = []
        for student, teacher in self.model_name_pairs:
            one = [self.select_output(output, student, key, "s_key") for key in self.student_keys]
            other = [self.select_output(output, teacher, key, "t_key").detach() for key in self.teacher_keys]
            losses.append(self.compare(one, other))
        return sum(losses)


def _list_keys(name: str, key: Keys, alias: Keys) -> list[str]:
    """Return the layers that the option `key` or its alias contains, exactly one of which has to be given."""
    if (key is None) == (alias is None):
        got = "neither" if key is None else "both"
        raise ConfigError(f"{name}: expected {name} or {name}s, got {got}")
    keys = alias if key is None else key
    return [keys] if isinstance(keys, str) else list(keys or ())


def _build_layers(name: str, options: dict[str, Any]) -> nn.Layer:
    """Build the layers of a base loss from those options that are given.

    Raises:
        ConfigError: an option of another base loss, a missing option, or a list instead of a number or vice versa.
    """
    if name not in BASES:
        raise ConfigError(f"base_loss_name: expected one of {', '.join(BASES)}, got {name!r}")
    parameters = inspect.signature(BASES[name].__init__).parameters
    for option, value in options.items():
        if option not in parameters:
            raise ConfigError(f"{option}: {name} has no such option; remove it")
        if isinstance(value, list) != (option in LISTS.get(name, ())):
            expected = "a number" if isinstance(value, list) else "a list of one value per layer"
            raise ConfigError(f"{option}: expected {expected} for {name}, got {value!r}")
    for option, parameter in parameters.items():
        if option != "self" and parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"{option}: expected a value for {name}, got nothing")
    with paddle.utils.unique_name.guard():  # the optimizer's state is keyed by parameter names
        return BASES[name](**options)
