"""Exact conversion of PyTorch weights; what cannot be converted exactly is refused with the reason."""

from ppzoo.weights.torch_import.conversion import Translation, locate_entries, normalize_names, translate
from ppzoo.weights.torch_import.naming_schemes import NAMING_SCHEMES, ORIGINS, NamingScheme, Origin, recognize

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
