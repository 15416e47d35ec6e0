"""Weights: reading untrusted files, loading into a network, downloading, writing."""

from ppzoo.weights.download import cached, discard, fetch, weights_folder
from ppzoo.weights.export_archives import is_export_archive, unpack_export
from ppzoo.weights.load import convert_channels, load_weights
from ppzoo.weights.load_report import LoadReport, best_fit
from ppzoo.weights.pdparams import read_entries, read_pdparams, read_state
from ppzoo.weights.safetensors import save_safetensors
from ppzoo.weights.weight_file import WeightFile
from ppzoo.weights.weight_formats import read
from ppzoo.weights.writer import save_pdparams, save_state

__all__ = [
    "LoadReport",
    "WeightFile",
    "best_fit",
    "cached",
    "convert_channels",
    "discard",
    "fetch",
    "is_export_archive",
    "load_weights",
    "read",
    "read_entries",
    "read_pdparams",
    "read_state",
    "save_pdparams",
    "save_safetensors",
    "save_state",
    "unpack_export",
    "weights_folder",
]
