"""What happens after training: exporting a program, running it, reading its answers."""

from ppzoo.deploy import thresholds  # noqa: F401  (registers its post-processing)
from ppzoo.deploy.batch import Batch
from ppzoo.deploy.engine_autotune import fastest_engine
from ppzoo.deploy.engines import Engine, open_engine
from ppzoo.deploy.eval_via_export import exported_outputs, plan_export
from ppzoo.deploy.export import Probabilities, export, probabilities
from ppzoo.deploy.export_dir import SETTINGS, Exported, open_export
from ppzoo.deploy.normalization import Normalization
from ppzoo.deploy.postprocess import POSTPROCESSES, Topk, of_settings
from ppzoo.deploy.program import Program, misfit

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
