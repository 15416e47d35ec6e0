"""Checks, for `ppzoo check`, that a dataset can find its labels; no image is read."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppzoo.data.datasets import DATASETS
from ppzoo.data.datasets.custom_labels import CustomLabelDataset
from ppzoo.data.datasets.tar_shards import TarShards, list_shards, read_shard
from ppzoo.data.label_files import LABEL_LIST
from ppzoo.data.table_lists import check_columns, is_table
from ppzoo.data.transforms.sample_labels import require_label


def check_transform_label(dataset: str, options: Mapping[str, Any], transforms: Sequence[object]) -> None:
    """Check that a transform sets the labels, for a dataset whose labels are set by one of its transforms.

    Raises:
        ConfigError: no transform sets them.
    """
    if DATASETS[dataset] is CustomLabelDataset:
        require_label(options.get("label_key"), transforms, option=".label_key")


def is_list_without_names(options: Mapping[str, Any]) -> bool:
    """Return whether the options of a dataset name an existing text list (no table) whose classes have no names."""
    file = options.get("cls_label_path")
    if not isinstance(file, str) or not os.path.isfile(file) or options.get("relabel"):
        return False
    is_text = not is_table(file) or bool(options.get("delimiter"))
    return is_text and not Path(file).with_name(LABEL_LIST).is_file()


def check_label_source(dataset: str, options: Mapping[str, Any]) -> None:
    """Check the header of a table of labels, or the labels in the first shard; files that do not exist are ignored.

    Raises:
        DataError: the table lacks a column, or a JSON record lacks the key of its label.
    """
    kind, table, folder = DATASETS[dataset], options.get("cls_label_path"), options.get("image_root")
    if isinstance(table, str) and is_table(table) and os.path.isfile(table) and not options.get("delimiter"):
        several = "label_columns" in inspect.signature(kind).parameters
        column = options.get("label_column")
        columns = options.get("label_columns") if several else None if column is None else [column]
        check_columns(table, path_column=options.get("path_column"), label_columns=columns, several=several)
    elif kind is TarShards and isinstance(folder, str) and os.path.isdir(folder):
        given = {key: options[key] for key in ("label_member", "label_key") if key in options}
        read_shard(list_shards(folder)[0], **given)
