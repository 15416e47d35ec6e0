"""After training: export a network as an inference program, run it, and turn its probabilities into predictions."""

from ppzoo.deploy import attributes  # noqa: F401  (registers its postprocessing steps)
from ppzoo.deploy.batch import Batch, Normalization
from ppzoo.deploy.engine_autotune import fastest_engine
from ppzoo.deploy.engines import Engine, open_engine, require_bfloat16
from ppzoo.deploy.eval_via_export import accelerate_eval, export_if_worthwhile, original_network, receive_features
from ppzoo.deploy.export_check import CheckImages, FormatCheck, run_engine
from ppzoo.deploy.export_dir import SETTINGS, ExportedModel, open_export, require_label_count
from ppzoo.deploy.export_precision import LowerPrecision
from ppzoo.deploy.exporter import export, export_formats
from ppzoo.deploy.formats import FORMATS, ExportOptions, require_format_packages
from ppzoo.deploy.onnx_graph import DEFAULT_OPSET
from ppzoo.deploy.paddle_engine import PaddleEngine, shape_error
from ppzoo.deploy.paddlex import find_architecture
from ppzoo.deploy.postprocess import POSTPROCESSES, Topk, parse_postprocess
from ppzoo.deploy.precision import default_precision, fastest_precision, lower_precisions
from ppzoo.deploy.probabilities import Probabilities, predict_probabilities
from ppzoo.deploy.triton import remove_triton, write_triton

__all__ = [
    "DEFAULT_OPSET",
    "FORMATS",
    "POSTPROCESSES",
    "SETTINGS",
    "Batch",
    "CheckImages",
    "Engine",
    "ExportOptions",
    "ExportedModel",
    "FormatCheck",
    "LowerPrecision",
    "Normalization",
    "PaddleEngine",
    "Probabilities",
    "Topk",
    "accelerate_eval",
    "default_precision",
    "export",
    "export_formats",
    "export_if_worthwhile",
    "fastest_engine",
    "fastest_precision",
    "find_architecture",
    "lower_precisions",
    "open_engine",
    "open_export",
    "original_network",
    "parse_postprocess",
    "predict_probabilities",
    "receive_features",
    "remove_triton",
    "require_bfloat16",
    "require_format_packages",
    "require_label_count",
    "run_engine",
    "shape_error",
    "write_triton",
]
