"""Configurations: `load` reads YAML, `Config.parse` checks and converts the data to frozen sections.

`dump` returns the YAML text of `Config.to_dict`. The only files that this package reads are YAML files. It imports
neither PaddlePaddle nor the components of ppzoo: callers pass their descriptions (`Components`).
"""

from ppzoo.config.arch_sections import ArchConfig, DistillationConfig, NetworkConfig
from ppzoo.config.component_types import Component, Components, Option
from ppzoo.config.component_uses import list_items
from ppzoo.config.data_sections import DataLoaderConfig, DatasetConfig, LoaderConfig, SamplerConfig, SplitConfig
from ppzoo.config.json_schema_generator import json_schema
from ppzoo.config.loading import apply_overrides, load, merge
from ppzoo.config.parsing import Config, parse_component, parse_components, parse_section, to_plain, to_plain_list
from ppzoo.config.path_checks import check_files, suggest_path
from ppzoo.config.schema import (
    AmpConfig,
    EarlyStoppingConfig,
    EmaConfig,
    GlobalConfig,
    InferConfig,
    LossConfig,
    LossTermConfig,
    LrConfig,
    MetricConfig,
    OptimizerConfig,
    PostProcessConfig,
    TtaConfig,
)
from ppzoo.config.section import ComponentSpec, known_keys
from ppzoo.config.type_checks import Limit, find_out_of_range, if_accepted
from ppzoo.config.validate import Task, check, check_export, expand_paths, find_unknown_keys
from ppzoo.config.value_types import parse_log_ranks
from ppzoo.yaml_io import dump

__all__ = [
    "AmpConfig",
    "ArchConfig",
    "Component",
    "ComponentSpec",
    "Components",
    "Config",
    "DataLoaderConfig",
    "DatasetConfig",
    "DistillationConfig",
    "EarlyStoppingConfig",
    "EmaConfig",
    "GlobalConfig",
    "InferConfig",
    "Limit",
    "LoaderConfig",
    "LossConfig",
    "LossTermConfig",
    "LrConfig",
    "MetricConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "Option",
    "PostProcessConfig",
    "SamplerConfig",
    "SplitConfig",
    "Task",
    "TtaConfig",
    "apply_overrides",
    "check",
    "check_export",
    "check_files",
    "dump",
    "expand_paths",
    "find_out_of_range",
    "find_unknown_keys",
    "if_accepted",
    "json_schema",
    "known_keys",
    "list_items",
    "load",
    "merge",
    "parse_component",
    "parse_components",
    "parse_log_ranks",
    "parse_section",
    "suggest_path",
    "to_plain",
    "to_plain_list",
]
