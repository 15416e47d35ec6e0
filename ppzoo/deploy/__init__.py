"""What happens after training: exporting a program, running it, reading its answers."""

from ppzoo.deploy import thresholds  # noqa: F401  (enrols its post-processings)
from ppzoo.deploy.acceleration import accelerated, expect
from ppzoo.deploy.batch import Batch
from ppzoo.deploy.choice import fastest_engine
from ppzoo.deploy.engines import Engine, open_engine
from ppzoo.deploy.export import Probabilities, export, probabilities
from ppzoo.deploy.folder import SETTINGS, Exported, open_export
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
    "accelerated",
    "expect",
    "export",
    "fastest_engine",
    "misfit",
    "of_settings",
    "open_engine",
    "open_export",
    "probabilities",
]
