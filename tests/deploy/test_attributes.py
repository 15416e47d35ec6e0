"""The words for people, vehicles and tables are those of PaddleClas's deployment."""

import numpy as np
import pytest

from ppzoo import builders
from ppzoo.deploy.attributes import PERSON, VEHICLES
from ppzoo.errors import ConfigError


def predict(name, probabilities, labels=None, **options):
    return builders.build_postprocess({"name": name, **options}, labels or {})(np.array([probabilities], "float32"))[0]


def test_a_vehicle_has_a_color_and_a_type():
    row = np.full(19, 0.1)
    row[4], row[10 + VEHICLES.index("van")] = 0.75, 0.5
    found = predict("VehicleAttribute", row)
    assert found["attributes"] == ["Color: (red, prob: 0.75)", "Type: (van, prob: 0.5)"]
    assert found["label_names"] == ["red"]  # 0.5 is not above the threshold, but it is not unknown
    assert found["output"] == [0, 0, 0, 0, 1] + [0] * 14
    assert predict("VehicleAttribute", row, type_threshold=0.6)["attributes"][1] == "Type unknown"


def test_a_person_is_described_as_by_paddleclas():
    values = {
        "Glasses": 0.4,
        "LongSleeve": 0.6,
        "UpperLogo": 0.9,
        "Trousers": 0.3,
        "Backpack": 0.8,
        "HoldObjectsInFront": 0.55,
    }
    row = np.array(
        [{**values, "Age18-60": 0.4, "Female": 0.7, "Side": 0.2, "Boots": 0.1}.get(name, 0.05) for name in PERSON]
    )
    found = predict("PersonAttribute", row)
    assert found["attributes"] == [
        "Female",
        "Age18-60",
        "Side",
        "Glasses: True",
        "Hat: False",
        "HoldObjectsInFront: False",
        "Backpack",
        "Upper: LongSleeve UpperLogo",
        "Lower:  Trousers",
        "No boots",
    ]
    assert found["label_names"] == ["Glasses", "LongSleeve", "UpperLogo", "Backpack", "Female"]
    assert found["class_ids"] == [PERSON.index(name) for name in found["label_names"]]
    assert sum(found["output"]) == 5


@pytest.mark.parametrize(("index", "age"), [(19, "AgeOver60"), (20, "Age18-60"), (21, "AgeLess18")])
def test_ages_have_the_order_of_the_labels_in_pa100k(index, age):
    row = np.full(26, 0.1)
    row[index] = 0.9
    found = predict("PersonAttribute", row)
    assert found["attributes"][1] == age
    assert found["label_names"] == [age]


def test_each_label_of_a_table_has_a_separate_threshold():
    found = predict("TableAttribute", [0.9, 0.1, 0.9, 0.1, 0.6, 0.6], obstruction_threshold=0.7)
    assert found["attributes"] == ["Scanned", "Numerous", "Black-and-White", "Blurry", "With-Obstacles", "Horizontal"]


def test_names_of_the_classes_replace_the_default_ones():
    row = np.full(6, 0.9)
    assert predict("TableAttribute", row, {0: "gescannt", 1: "1"})["label_names"][:2] == ["gescannt", "Little"]


@pytest.mark.parametrize("name", ["VehicleAttribute", "PersonAttribute", "TableAttribute"])
def test_other_networks_and_thresholds_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name}: expected a network of [0-9]+ classes, got 3"):
        predict(name, [0.1, 0.2, 0.3])
    option = {"VehicleAttribute": "type_threshold", "PersonAttribute": "hold_threshold"}.get(name, "angle_threshold")
    with pytest.raises(ConfigError, match=f"{option}: expected 0 to 1, got 3"):
        predict(name, [0.1], **{option: 3})
