"""Post-processing of PaddleClas's PULC networks for attributes of people, vehicles and tables.

A prediction has the classes above their thresholds (`class_ids`, `scores`, `label_names`), and two entries of
PaddleClas's deployment: `attributes`, a list of words such as "Female", and `output`, a list with 1 for each class
above its threshold and 0 for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppzoo.deploy.postprocess import POSTPROCESSES, check_threshold, make_prediction
from ppzoo.errors import ConfigError
from ppzoo.finite import require_finite

COLORS = ("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black")
VEHICLES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")
UPPER = ("UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice")
LOWER = ("LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress")
BAGS = ("HandBag", "ShoulderBag", "Backpack")
AGES = ("AgeOver60", "Age18-60", "AgeLess18")  # the order of PA-100K's labels, with which PULC's network is trained
DIRECTIONS = ("Front", "Side", "Back")
PERSON = (
    *("Hat", "Glasses", "ShortSleeve", "LongSleeve"),
    *(*UPPER, *LOWER, "Boots", *BAGS, "HoldObjectsInFront", *AGES, "Female", *DIRECTIONS),
)
TABLE = (
    *(("Scanned", "Photo"), ("Little", "Numerous"), ("Black-and-White", "Multicolor"), ("Clear", "Blurry")),
    *(("Without-Obstacles", "With-Obstacles"), ("Horizontal", "Tilted")),
)  # each label: the word if it is above its threshold, and the word if not


class _Attributes:
    """Base of the postprocessing steps of attributes.

    Attributes:
        names: the names of the classes that have no name in `labels`.
        thresholds: one threshold per class.
    """

    label_kind = "multi"
    names: Sequence[str]

    def __init__(self, thresholds: Sequence[float], labels: Mapping[int, str] | None) -> None:
        self.thresholds = np.array(thresholds)
        # An export without names of classes has their indices as names.
        given = {index: name for index, name in (labels or {}).items() if name != str(index)}
        self.labels = {**dict(enumerate(self.names)), **given}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """Return the prediction for each row of N x class_num probabilities."""
        if probabilities.shape[1] != len(self.names):
            expected = f"expected a network of {len(self.names)} classes"
            raise ConfigError(f"{type(self).__name__}: {expected}, got {probabilities.shape[1]}")
        require_finite(probabilities)
        predictions = []
        for row in probabilities:
            is_above = row > self.thresholds
            ids = np.flatnonzero(is_above).tolist()
            prediction = make_prediction(ids, [float(row[index]) for index in ids], self.labels)
            words = self.describe(row, is_above)
            predictions.append({**prediction, "attributes": words, "output": is_above.astype(int).tolist()})
        return predictions

    def describe(self, row: np.ndarray, is_above: np.ndarray) -> list[str]:
        """Return the words for the probabilities of an image."""
        raise NotImplementedError


@POSTPROCESSES.register
class VehicleAttribute(_Attributes):
    """Color and type of a vehicle, from the 19 classes of PULC's vehicle_attribute.

    Args:
        color_threshold: a color whose probability is below this is unknown.
        type_threshold: a type whose probability is below this is unknown.
        labels: class index -> name.

    Raises:
        ConfigError: a threshold is out of range, or the network does not have 19 classes.
    """

    names = (*COLORS, *VEHICLES)
    required_classes = len(names)

    def __init__(
        self,
        *,
        color_threshold: float = 0.5,
        type_threshold: float = 0.5,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        check_threshold(color_threshold, "color_threshold")
        check_threshold(type_threshold, "type_threshold")
        super().__init__([color_threshold] * len(COLORS) + [type_threshold] * len(VEHICLES), labels)

    def describe(self, row: np.ndarray, is_above: np.ndarray) -> list[str]:
        words = []
        for kind, first, names in (("Color", 0, COLORS), ("Type", len(COLORS), VEHICLES)):
            best = first + int(row[first : first + len(names)].argmax())
            known = row[best] >= self.thresholds[best]
            words.append(f"{kind}: ({self.labels[best]}, prob: {row[best]:.5g})" if known else f"{kind} unknown")
        return words


@POSTPROCESSES.register
class PersonAttribute(_Attributes):
    """Sex, age, direction, belongings and clothes of a person, from the 26 classes of PULC's person_attribute.

    The classes have the order of the labels in PULC's files of PA-100K, where the ages begin with AgeOver60.
    (PaddleClas's postprocessing begins with AgeLess18: it exchanges AgeLess18 and AgeOver60.)

    Args:
        threshold: a class without a separate option is predicted if its probability is above this.
        glasses_threshold: the threshold of the class Glasses.
        hold_threshold: the threshold of the class HoldObjectsInFront.
        labels: class index -> name.

    Raises:
        ConfigError: a threshold is out of range, or the network does not have 26 classes.
    """

    names = PERSON
    required_classes = len(names)

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        glasses_threshold: float = 0.3,
        hold_threshold: float = 0.6,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        for name, value in (
            ("threshold", threshold),
            ("glasses_threshold", glasses_threshold),
            ("hold_threshold", hold_threshold),
        ):
            check_threshold(value, name)
        thresholds = {"Glasses": glasses_threshold, "HoldObjectsInFront": hold_threshold}
        super().__init__([thresholds.get(name, threshold) for name in PERSON], labels)

    def describe(self, row: np.ndarray, is_above: np.ndarray) -> list[str]:
        def best(names: Sequence[str]) -> str:
            return max(names, key=lambda name: float(row[PERSON.index(name)]))

        def has(name: str) -> bool:
            return bool(is_above[PERSON.index(name)])

        sleeve = "LongSleeve" if row[PERSON.index("LongSleeve")] > row[PERSON.index("ShortSleeve")] else "ShortSleeve"
        bag = best(BAGS)
        return [
            "Female" if has("Female") else "Male",
            best(AGES),
            best(DIRECTIONS),
            *(f"{name}: {has(name)}" for name in ("Glasses", "Hat", "HoldObjectsInFront")),
            bag if has(bag) else "No bag",
            " ".join(["Upper:", sleeve, *filter(has, UPPER)]),
            " ".join(["Lower: ", *(list(filter(has, LOWER)) or [best(LOWER)])]),
            "Boots" if has("Boots") else "No boots",
        ]


@POSTPROCESSES.register
class TableAttribute(_Attributes):
    """Source, number, color, clarity, obstruction and angle of a table, from the 6 classes of PULC's table_attribute.

    Each label has its own threshold. (PaddleClas applies `number_threshold` to obstruction and angle, too.)

    Args:
        source_threshold: "Scanned" if the probability is above this, else "Photo".
        number_threshold: "Little" above this, else "Numerous".
        color_threshold: "Black-and-White" above this, else "Multicolor".
        clarity_threshold: "Clear" above this, else "Blurry".
        obstruction_threshold: "Without-Obstacles" above this, else "With-Obstacles".
        angle_threshold: "Horizontal" above this, else "Tilted".
        labels: class index -> name.

    Raises:
        ConfigError: a threshold is out of range, or the network does not have 6 classes.
    """

    names = tuple(word for word, _ in TABLE)
    required_classes = len(names)

    def __init__(
        self,
        *,
        source_threshold: float = 0.5,
        number_threshold: float = 0.5,
        color_threshold: float = 0.5,
        clarity_threshold: float = 0.5,
        obstruction_threshold: float = 0.5,
        angle_threshold: float = 0.5,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        thresholds = {
            "source_threshold": source_threshold,
            "number_threshold": number_threshold,
            "color_threshold": color_threshold,
            "clarity_threshold": clarity_threshold,
            "obstruction_threshold": obstruction_threshold,
            "angle_threshold": angle_threshold,
        }
        for name, value in thresholds.items():
            check_threshold(value, name)
        super().__init__(list(thresholds.values()), labels)

    def describe(self, row: np.ndarray, is_above: np.ndarray) -> list[str]:
        return [word if above else other for (word, other), above in zip(TABLE, is_above, strict=True)]
