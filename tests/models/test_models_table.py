"""The table and the summary of `ppzoo models`."""

import pytest

from ppzoo.cli import main
from ppzoo.errors import ConfigError
from ppzoo.models.table import build_rows, format_table, layer_summary, select_rows


def test_rows_contain_size_cost_input_and_accuracy():
    with_weights, without = build_rows(["MobileNetV2_x0_5", "LeNet"])
    assert with_weights == {
        "name": "MobileNetV2_x0_5",
        "params": 1_965_736,
        "flops": 92_271_040,
        "input": [3, 224, 224],
        "top1": 0.6503,
    }
    assert (without["params"], without["input"], without["top1"]) == (62_006, [3, 32, 32], None)


def test_rows_are_filtered_and_sorted():
    rows = build_rows(["PPLCNet_x0_25", "PPLCNet_x2_5", "PPLCNet_x1_0", "LeNet"])
    chosen = select_rows(rows, family="PPLCNet", max_params=5e6, sort="top1")
    assert [row["name"] for row in chosen] == ["PPLCNet_x1_0", "PPLCNet_x0_25"]
    assert [row["name"] for row in select_rows(rows, sort="top1")][-1] == "LeNet"
    assert [row["name"] for row in select_rows(rows, max_flops=0.02e9, sort="params")] == ["LeNet", "PPLCNet_x0_25"]
    with pytest.raises(ConfigError, match=r"^--family: expected one of alexnet"):
        select_rows(rows, family="Foo")


def test_table_has_one_aligned_line_per_architecture():
    heading, *lines = format_table(build_rows(["ResNet18", "LeNet"])).splitlines()
    assert heading.split("  ")[0] == "name"
    assert [line.split() for line in lines] == [
        ["ResNet18", "11.69", "1.827", "3x224x224", "0.7098"],
        ["LeNet", "0.06", "0.001", "3x32x32", "-"],
    ]
    assert len({len(line) for line in (heading, *lines)}) == 1


def test_summary_lists_layers_with_shapes_and_prints_nothing(capsys):
    layers = layer_summary("LeNet")
    assert "[1, 6, 30, 30]" in layers and "Total params: 62,006" in layers
    assert capsys.readouterr().out == ""


def test_summary_of_a_network_for_gray_images(capsys):
    assert main(["models", "LeNet", "--summary", "--in-channels", "1"]) == 0
    assert "[[1, 1, 32, 32]]" in capsys.readouterr().out
    assert main(["models", "LeNet", "--summary", "--in-channels", "0"]) == 2
    assert "--in-channels: expected an integer from 1" in capsys.readouterr().err
    assert main(["models", "LeNet", "--in-channels", "1"]) == 2
    assert "--in-channels: expected it together with --summary" in capsys.readouterr().err
