"""What happens after training: exporting a program, running it, reading its answers."""

from ppzoo.deploy.batch import Batch
from ppzoo.deploy.engine_autotune import fastest_engine
from ppzoo.deploy.engines import Engine, open_engine
from ppzoo.deploy.eval_via_export import accelerate_eval, export_if_worthwhile
from ppzoo.deploy.export import Probabilities, export, predict_probabilities
from ppzoo.deploy.export_dir import SETTINGS, ExportedModel, open_export
from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.postprocess import POSTPROCESSES, Topk, parse_postprocess
from ppzoo.deploy.paddle_engine import PaddleEngine, shape_error

__all__ = [
    "POSTPROCESSES",
    "SETTINGS",
    "Batch",
    "Engine",
    "Exported",
    "Normalization",
    "Probabilities",
    "Program",
    "Topk",
    "export",
    "exported_outputs",
    "fastest_engine",
    "misfit",
    "of_settings",
    "open_engine",
    "open_export",
    "plan_export",
    "probabilities",
]
