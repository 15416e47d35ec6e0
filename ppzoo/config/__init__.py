"""Configurations: `load` reads them, `check` and `check_files` say all that is wrong with them, `dump` writes them.

Pure: this package reads YAML files and nothing else, and knows neither PaddlePaddle nor any component of ppzoo; what
exists is told to `check` by its caller.
"""

from ppzoo.config.component_types import Component, Option
from ppzoo.config.loading import load, merge
from ppzoo.config.path_checks import check_files, nearest
from ppzoo.config.schema import (
    AmpSection,
    ArchSection,
    ComponentSection,
    Configuration,
    DatasetSection,
    DistillationSection,
    EmaSection,
    GlobalSection,
    InferSection,
    LoaderSection,
    LossOptions,
    LrSection,
    OptimizerSection,
    PostProcessSection,
    SamplerSection,
    TtaSection,
    log_ranks,
    own_options,
    settings,
)
from ppzoo.config.type_checks import Limit, out_of_float32
from ppzoo.config.validate import Task, check, check_export, expand_paths
from ppzoo.yaml_io import dump

__all__ = [
    "AmpSection",
    "ArchSection",
    "Component",
    "ComponentSection",
    "Configuration",
    "DatasetSection",
    "DistillationSection",
    "EmaSection",
    "GlobalSection",
    "InferSection",
    "Limit",
    "LoaderSection",
    "LossOptions",
    "LrSection",
    "OptimizerSection",
    "Option",
    "PostProcessSection",
    "SamplerSection",
    "Task",
    "TtaSection",
    "check",
    "check_export",
    "check_files",
    "dump",
    "expand_paths",
    "load",
    "log_ranks",
    "merge",
    "nearest",
    "out_of_float32",
    "own_options",
    "settings",
]
