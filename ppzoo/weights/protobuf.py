"""Minimal reader of protocol buffers without a schema, which is enough to find the names and shapes of tensors.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Value = int | bytes
MAX_FIELDS = 1_000_000
MAX_NUMBER = 1 << 29


def fields(message: bytes) -> dict[int, list[Any]]:
    """Return field number -> values in order: integers, or bytes (text, messages, packed integers, fixed sizes).

    Raises:
        ValueError: `message` is not a valid message.
    """
    found: dict[int, list[Value]] = {}
    position = count = 0
    while position < len(message):
        count += 1
        if count > MAX_FIELDS:
            raise ValueError("a message has too many fields")
        tag, position = _varint(message, position)
        if not 0 < tag >> 3 < MAX_NUMBER:  # other readers ignore the higher bits, and would find another field
            raise ValueError("a field has an invalid number")
        value: Value
        if tag & 7 == 0:
            value, position = _varint(message, position)
        else:
            if tag & 7 == 2:
                length, position = _varint(message, position)
            else:
                length = {1: 8, 5: 4}.get(tag & 7, len(message))
            value, position = message[position : position + length], position + length
            if position > len(message):
                raise ValueError("a field is longer than its message")
        found.setdefault(tag >> 3, []).append(value)
    return found


def varints(values: Iterable[Value]) -> list[int]:
    """Return the signed 64-bit integers of a repeated field, packed or not."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
        else:
            position = 0
            while position < len(value):
                number, position = _varint(value, position)
                found.append(number)
    return [number - (1 << 64) if number >= 1 << 63 else number for number in found]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("a number is not terminated")
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise ValueError("a number has more than 64 bits")
