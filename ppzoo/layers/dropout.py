"""Dropout as PaddleClas's networks have it: the scaling happens in evaluation, not in training.

The official weights were trained so: training leaves the kept values as they are, evaluation multiplies all by
(1 - rate). Dropout of today (`upscale_in_train`) would answer with scores 1 / (1 - rate) times as large.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.errors import ConfigError


def downscaled_dropout(rate: float) -> nn.Layer:
    """Set each value to zero with probability `rate` in training, multiply all by (1 - rate) in evaluation.

    Raises:
        ConfigError: a rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ConfigError(f"dropout: expected a rate of at least 0 and below 1, got {rate}; 0 switches it off")
    return nn.Dropout(rate, mode="downscale_in_infer") if rate else nn.Identity()
