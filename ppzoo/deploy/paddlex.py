"""Exports of PaddleX and PaddleOCR: which network an `inference.yml` means, and label names that it does not list.

PaddleX calls PaddleClas's networks `PP-LCNet_x1_0` instead of `PPLCNet_x1_0`, and appends the task, such as `_doc_ori`.
"""

from __future__ import annotations

import re
from typing import Any

TEXT_LINES = {"stride_list": [2, [2, 1], [2, 1], [2, 1], [2, 1]]}  # strides of networks for wide images
# Suffix of the task -> options of the architecture.
TASKS: dict[str, dict[str, Any]] = {
    "": {},
    "_doc_ori": {},
    "_table_cls": {},
    "_pedestrian_attribute": {},
    "_vehicle_attribute": {},
    "_textline_ori": TEXT_LINES,
    "_language_ori": TEXT_LINES,
}
NAMED_LABELS = ("label_0", "label_1")  # options of `ThreshOutput`
OWN_NAMES = ("ThreshOutput", "VehicleAttribute", "PersonAttribute", "TableAttribute")  # steps with default label names


def find_architecture(model_name: str) -> dict[str, Any]:
    """Return the section `Arch` for a name of PaddleX; a name that does not have PaddleX's form is kept.

    >>> find_architecture("PP-LCNet_x0_25_doc_ori")
    {'name': 'PPLCNet_x0_25'}
    """
    task = max((task for task in TASKS if model_name.endswith(task)), key=len)
    name = model_name.removesuffix(task) if task else model_name
    match = re.fullmatch(r"PP-(LCNet|HGNet)(.*)|(FasterNet|StarNet)-(.*)", name)
    if not match:
        return {"name": model_name}
    plain = f"PP{match[1]}{match[2].replace('-', '_')}" if match[1] else f"{match[3]}_{match[4]}"
    return {"name": plain, **TASKS[task]}


def default_labels(name: str, options: dict[str, Any]) -> list[str] | None:
    """Return the label names of a postprocessing step without `label_list`.

    They are the options `label_0` and `label_1` if both are set, else [] for a step with default names; None for a step
    that requires the list.
    """
    if name not in OWN_NAMES:
        return None
    named = [options.get(option) for option in NAMED_LABELS]
    return [str(label) for label in named] if all(label is not None for label in named) else []
