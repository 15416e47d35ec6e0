"""What happens after training: exporting a program, running it, reading its answers."""

from ppzoo.deploy.export import Probabilities, export
from ppzoo.deploy.postprocess import POSTPROCESSES, Topk
from ppzoo.deploy.program import Program, run

__all__ = ["POSTPROCESSES", "Probabilities", "Program", "Topk", "export", "run"]
