"""Exact conversion of PyTorch weights; what cannot be converted exactly is refused with the reason."""

from ppzoo.weights.torch_import.naming_schemes import NAMING_SCHEMES, ORIGINS, NamingScheme, Origin, recognize
from ppzoo.weights.torch_import.translate import Translation, locate_entries, normalize_names, translate

__all__ = [
    "NAMING_SCHEMES",
    "ORIGINS",
    "NamingScheme",
    "Origin",
    "Translation",
    "locate_entries",
    "normalize_names",
    "recognize",
    "translate",
]
