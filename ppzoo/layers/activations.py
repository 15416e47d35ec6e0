"""Activations by the names that PaddleClas's networks give them."""

from __future__ import annotations

from paddle import nn

from ppzoo.registry import Registry

ACTIVATIONS: Registry[type[nn.Layer]] = Registry("activation")
for _name, _layer in {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "swish": nn.Swish,
}.items():
    ACTIVATIONS.add(_name, _layer)


def activation(name: str | None) -> nn.Layer:
    """The layer called `name`; the identity for None."""
    return nn.Identity() if name is None else ACTIVATIONS[name]()
