"""Arithmetic in numbers, such as 1.0/255.0, is evaluated; any other expression is an error."""

import pytest

from ppzoo.arithmetic import arithmetic
from ppzoo.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0/255.0", 1 / 255),
        ("1./255.", 1 / 255),
        ("0.00392157", 0.00392157),
        ("1e-3", 1e-3),
        (" -(2 + 3) * 4 ", -20.0),
        ("2 - 3 - 4", -5.0),
    ],
)
def test_numbers_and_basic_operations(text, value):
    assert arithmetic(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1/",
        "two",
        "2**3",
        "7//2",
        "abs(1)",
        "__import__('os')",
        "1 if 1 else 2",
        "1,2",
        "1j",
        "1\n2",
        "(" * 50,
        "1+" * 40,
    ],
)
def test_other_expressions_are_errors_on_one_line(text):
    with pytest.raises(ConfigError, match=r"expected a number or arithmetic such as 1\.0/255\.0, got") as error:
        arithmetic(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1/0", "1/(2-2)", "1e999", "1e300*1e300"])
def test_values_that_are_not_finite_are_errors(text):
    with pytest.raises(ConfigError, match=r"expected a (finite )?number, got"):
        arithmetic(text)
