"""Translate PaddleClas's configurations to shorter configurations of ppzoo, and check that both are equal."""

from ppzoo.migration.migrate import Migration, migrate_config, migration_text
from ppzoo.migration.sources import Source, find_run_weights, find_sources, read_source
from ppzoo.migration.translation import Change

__all__ = [
    "Change",
    "Migration",
    "Source",
    "find_run_weights",
    "find_sources",
    "migrate_config",
    "migration_text",
    "read_source",
]
