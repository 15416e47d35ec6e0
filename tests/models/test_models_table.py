"""The table and the summary that `ppzoo models` prints."""

from ppzoo.models.table import rows, summary, text


def test_rows_say_what_is_known_of_an_architecture():
    with_weights, without = rows(["MobileNetV2_x0_5", "LeNet"])
    assert with_weights == {
        "name": "MobileNetV2_x0_5",
        "params": 1_965_736,
        "flops": 92_271_040,
        "input": [3, 224, 224],
        "top1": 0.6503,
    }
    assert (without["params"], without["input"], without["top1"]) == (62_006, [3, 32, 32], None)


def test_the_table_has_a_line_for_each_architecture_and_straight_columns():
    heading, *lines = text(["ResNet18", "LeNet"]).splitlines()
    assert heading.split("  ")[0] == "name"
    assert [line.split() for line in lines] == [
        ["ResNet18", "11.69", "1.827", "3x224x224", "0.7098"],
        ["LeNet", "0.06", "0.001", "3x32x32", "-"],
    ]
    assert len({len(line) for line in (heading, *lines)}) == 1


def test_the_summary_lists_layers_with_shapes_and_prints_nothing_itself(capsys):
    answer = summary("LeNet")
    assert "[1, 6, 30, 30]" in answer and "Total params: 62,006" in answer
    assert capsys.readouterr().out == ""
