"""Weights of PyTorch's networks, turned into those of the networks here: exactly, or refused with the reason."""

from ppzoo.weights.torch_import.dialects import NAMING_SCHEMES, ORIGINS, NamingScheme, Origin, recognize
from ppzoo.weights.torch_import.translate import Translation, locate_entries, normalize_names, translate

__all__ = ["DIALECTS", "ORIGINS", "Dialect", "Origin", "Translation", "places", "plain_names", "recognize", "translate"]
