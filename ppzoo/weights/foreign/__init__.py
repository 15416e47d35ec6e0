"""Weights of PyTorch's networks, turned into those of the networks here: exactly, or refused with the reason."""

from ppzoo.weights.foreign.dialects import DIALECTS, ORIGINS, Dialect, Origin, recognise
from ppzoo.weights.foreign.translate import Translation, places, plain_names, translate

__all__ = ["DIALECTS", "ORIGINS", "Dialect", "Origin", "Translation", "places", "plain_names", "recognise", "translate"]
