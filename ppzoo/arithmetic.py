"""Evaluation of arithmetic in configurations, such as PaddleClas's `scale: 1.0/255.0`, without executing code."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

from ppzoo.errors import ConfigError

MAX_LENGTH = 60
MAX_FLOAT32 = 3.4028234663852886e38
MIN_FLOAT32 = 1.1754943508222875e-38  # the smallest normal number

_CHARACTERS = re.compile(r"[0-9.eE+\-*/() ]+")
_BINARY: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_UNARY: dict[type, Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def evaluate_arithmetic(text: str) -> float:
    """Evaluate numbers with `+ - * /` and parentheses.

    Raises:
        ConfigError: other text, a division by zero, or a value that is not finite in float32.
    """
    shown = repr(text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "...")
    if len(text) > MAX_LENGTH or not _CHARACTERS.fullmatch(text):
        raise ConfigError(f"expected a number or arithmetic such as 1.0/255.0, got {shown}")
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        raise ConfigError(f"expected a number or arithmetic such as 1.0/255.0, got {shown}") from None
    except ZeroDivisionError:
        raise ConfigError(f"expected a number, got {shown}, a division by zero") from None
    if not abs(value) <= MAX_FLOAT32:
        raise ConfigError(f"expected a finite number, got {shown}")
    return value


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    raise SyntaxError
