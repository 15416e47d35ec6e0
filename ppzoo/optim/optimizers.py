"""Optimizers by PaddleClas's names and options: recipes that build PaddlePaddle's optimizer for a model.

The constructors take the options of the configuration by name; `build` takes the model and the schedule.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn
from paddle.optimizer.lr import LRScheduler

from ppzoo.errors import ConfigError, errors_with_key
from ppzoo.native import momentum
from ppzoo.optim.checks import require
from ppzoo.optim.parameters import layer_factors, pattern_factors, select_exempted, set_learning_rate_factors
from ppzoo.optim.regularizers import CLIPS, L2, REGULARIZERS, from_mapping
from ppzoo.paddle_internals import set_multi_precision
from ppzoo.registry import Registry

logger = logging.getLogger("ppzoo")

OPTIMIZERS: Registry[type[Recipe]] = Registry("optimizer")


@dataclass(kw_only=True)
class Recipe:
    """Base of the optimizer recipes.

    Args:
        clip_norm: maximum global norm of the gradients. (PaddleClas clips the norm of each gradient; here that is
            `grad_clip: {name: ClipGradByNorm, clip_norm: ...}`.)
        grad_clip: another kind of gradient clipping instead of `clip_norm`, such as {"name": "ClipGradByNorm",
            "clip_norm": 1.0} or {"name": "ClipGradByValue", "max": 1.0}.
        no_weight_decay_name: parts of structured names (the keys of `state_dict()`), separated by spaces; parameters
            whose name contains one of these parts are not decayed.
        one_dim_param_no_weight_decay: do not decay parameters with one dimension, such as biases and the scales of
            normalization layers.
        learning_rate_factors: shell pattern of structured names -> factor on the learning rate, such as `{"fc.*": 10}`.
            The factor replaces the one that the network sets; if several patterns match, the first one is used.
        multi_precision: keep float32 master copies of float16 and bfloat16 weights.

    Raises:
        ConfigError: a value out of its range, or two options that exclude each other.
    """

    clip_norm: float | None = None
    grad_clip: dict[str, Any] | None = None
    no_weight_decay_name: str | None = None
    one_dim_param_no_weight_decay: bool = False
    learning_rate_factors: dict[str, float] | None = None
    multi_precision: bool = False

    def __post_init__(self) -> None:
        only_one = self.clip_norm is None or self.grad_clip is None
        require(only_one, "grad_clip", f"null, since clip_norm ({self.clip_norm}) is set", self.grad_clip)
        self._clip: Any = None
        if self.clip_norm is not None:
            self._clip = from_mapping(CLIPS, {"name": "ClipGradByGlobalNorm", "clip_norm": self.clip_norm})
        elif self.grad_clip is not None:
            with errors_with_key("grad_clip"):
                self._clip = from_mapping(CLIPS, self.grad_clip)
        for pattern, factor in (self.learning_rate_factors or {}).items():
            require(factor >= 0, "learning_rate_factors", f"a factor of at least 0 for {pattern!r}", factor)

    def build(self, model: nn.Layer, learning_rate: LRScheduler | float) -> paddle.optimizer.Optimizer:
        """Build the optimizer for the parameters of `model`, including frozen ones (skipped while they are frozen).

        Learning-rate factors and exemptions from decay are set on the parameters, not by parameter groups, because
        PaddlePaddle clips the global norm of each group separately.

        Raises:
            ConfigError: a pattern matches no parameter, two parameters have the same name, or all are frozen.
        """
        counts = Counter(parameter.name for parameter in model.parameters() if not parameter.stop_gradient)
        if not counts:
            raise ConfigError("expected a model with parameters to train, got one whose parameters are all frozen")
        name, count = counts.most_common(1)[0]
        if count > 1:  # the names are keys of the optimizer's state
            raise ConfigError(f"expected different names for all parameters, got {name!r} for {count} of them")
        set_learning_rate_factors(model, self.factors(model))
        exempted = select_exempted(model, (self.no_weight_decay_name or "").split(), self.one_dim_param_no_weight_decay)
        return self.make(exempted, learning_rate=learning_rate, parameters=model.parameters(), grad_clip=self._clip)

    def factors(self, model: nn.Layer) -> dict[str, float]:
        """Return structured name -> factor on the learning rate, for the parameters that have one."""
        return pattern_factors(model, self.learning_rate_factors or {})

    def make(self, exempted: list[paddle.Tensor], **common: Any) -> paddle.optimizer.Optimizer:
        """Create PaddlePaddle's optimizer; `exempted` are the parameters that are not decayed."""
        raise NotImplementedError


@dataclass(kw_only=True)
class PenalizedRecipe(Recipe):
    """An optimizer whose weight decay is a penalty: it is added to the gradient.

    A regularizer in a parameter's `ParamAttr` takes precedence, as always in PaddlePaddle.

    Args:
        regularizer: penalty on the weights: {"name": "L1" or "L2", "coeff": ...}.
        weight_decay: coefficient of an L2 penalty; short for `regularizer: {name: L2, coeff: ...}`.
    """

    regularizer: dict[str, Any] | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        only_one = self.regularizer is None or self.weight_decay is None
        require(only_one, "weight_decay", f"null, since regularizer ({self.regularizer}) is set", self.weight_decay)
        self._penalty: Any = None
        if self.regularizer is not None:
            with errors_with_key("regularizer"):
                self._penalty = from_mapping(REGULARIZERS, self.regularizer)
        elif self.weight_decay is not None:
            require(self.weight_decay >= 0, "weight_decay", "a number of at least 0", self.weight_decay)
            self._penalty = L2(coeff=self.weight_decay)

    def make(self, exempted: list[paddle.Tensor], **common: Any) -> paddle.optimizer.Optimizer:
        for parameter in exempted:
            parameter.regularizer = L2(coeff=0.0)
        return self.make_penalized(weight_decay=self._penalty, **common)

    def make_penalized(self, **common: Any) -> paddle.optimizer.Optimizer:
        """Create PaddlePaddle's optimizer with the penalty."""
        raise NotImplementedError


@OPTIMIZERS.register
@dataclass(kw_only=True)
class SGD(PenalizedRecipe):
    """Stochastic gradient descent without momentum."""

    def make_penalized(self, **common: Any) -> paddle.optimizer.Optimizer:
        return paddle.optimizer.SGD(multi_precision=self.multi_precision, **common)


@OPTIMIZERS.register
@dataclass(kw_only=True)
class Momentum(PenalizedRecipe):
    """SGD with momentum: v = momentum * v + g; w = w - lr * v, or w - lr * (g + momentum * v) with `use_nesterov`."""

    momentum: float = 0.9
    use_nesterov: bool = False
    multi_precision: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum < 1, "momentum", "a number of at least 0 and below 1", self.momentum)

    def make_penalized(self, **common: Any) -> paddle.optimizer.Optimizer:
        return momentum.Momentum(
            momentum=self.momentum, use_nesterov=self.use_nesterov, multi_precision=self.multi_precision, **common
        )


@OPTIMIZERS.register
@dataclass(kw_only=True)
class RMSProp(PenalizedRecipe):
    """RMSProp: Tieleman and Hinton, Coursera lecture 6.5, 2012.

    Args:
        epsilon: added to the mean of the squared gradients, inside the square root.
    """

    momentum: float = 0.0
    rho: float = 0.95
    epsilon: float = 1e-6
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum < 1, "momentum", "a number of at least 0 and below 1", self.momentum)
        require(0 <= self.rho < 1, "rho", "a number of at least 0 and below 1", self.rho)
        require(self.epsilon > 0, "epsilon", "a number above 0", self.epsilon)

    def make_penalized(self, **common: Any) -> paddle.optimizer.Optimizer:
        optimizer = paddle.optimizer.RMSProp(
            momentum=self.momentum, rho=self.rho, epsilon=self.epsilon, centered=self.centered, **common
        )
        set_multi_precision(optimizer, self.multi_precision)  # the constructor does not have this option
        return optimizer


def _check_moments(beta1: float, beta2: float, epsilon: float) -> None:
    require(0 <= beta1 < 1, "beta1", "a number of at least 0 and below 1", beta1)
    require(0 <= beta2 < 1, "beta2", "a number of at least 0 and below 1", beta2)
    require(epsilon > 0, "epsilon", "a number above 0", epsilon)


@OPTIMIZERS.register
@dataclass(kw_only=True)
class Adam(PenalizedRecipe):
    """Adam: Kingma and Ba, ICLR 2015, arXiv:1412.6980."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    lazy_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_moments(self.beta1, self.beta2, self.epsilon)

    def make_penalized(self, **common: Any) -> paddle.optimizer.Optimizer:
        return paddle.optimizer.Adam(
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            lazy_mode=self.lazy_mode,
            multi_precision=self.multi_precision,
            **common,
        )


@OPTIMIZERS.register
@dataclass(kw_only=True)
class AdamW(Recipe):
    """Adam with decoupled weight decay: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101.

    Args:
        clip_grad: accepted for PaddleClas's configurations; no effect, as in PaddleClas. `clip_norm` clips gradients.
    """

    decoupled_weight_decay = True

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    lazy_mode: bool = False
    clip_grad: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_grad is not None:
            logger.warning("Optimizer.clip_grad: ignored, as in PaddleClas; set Optimizer.clip_norm to clip gradients")
        _check_moments(self.beta1, self.beta2, self.epsilon)
        require(self.weight_decay >= 0, "weight_decay", "a number of at least 0", self.weight_decay)

    def make(self, exempted: list[paddle.Tensor], **common: Any) -> paddle.optimizer.Optimizer:
        names = {parameter.name for parameter in exempted}
        return paddle.optimizer.AdamW(
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=float(self.weight_decay),
            apply_decay_param_fun=lambda name: name not in names,
            lazy_mode=self.lazy_mode,
            multi_precision=self.multi_precision,
            **common,
        )


@OPTIMIZERS.register
@dataclass(kw_only=True)
class AdamWDL(AdamW):
    """AdamW with layer-wise learning-rate decay: Clark et al., ELECTRA, arXiv:2003.10555.

    The head has the full rate, each layer below it `layerwise_decay` times that of the layer above. Layers are
    identified by their parameters' names. (PaddleClas's AdamWDL supports only PaddleClas's transformers, and decays
    every weight twice per step.)

    Args:
        layerwise_decay: factor on the learning rate from each layer to the layer below it, above 0 and at most 1; the
            head has the full rate. None: the same rate for all layers.
        filter_bias_and_bn: do not decay parameters with one dimension, such as biases and the scales of normalization
            layers.
    """

    layerwise_decay: float | None = None
    filter_bias_and_bn: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layerwise_decay is not None:
            require(
                0 < self.layerwise_decay <= 1, "layerwise_decay", "a number above 0 and at most 1", self.layerwise_decay
            )
        self.one_dim_param_no_weight_decay = self.one_dim_param_no_weight_decay or self.filter_bias_and_bn

    def factors(self, model: nn.Layer) -> dict[str, float]:
        by_layer = layer_factors(model, self.layerwise_decay) if self.layerwise_decay is not None else {}
        return {**by_layer, **super().factors(model)}
