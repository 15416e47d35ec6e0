"""The only reader of pickles: an interpreter of the opcodes that weight files use, so that no file can execute code.

The standard unpickler calls what a file names and trusts the lengths that a file states. This one looks every name up
in an allow-list (`ppzoo.safe_pickle.allowlist`), never allocates more than the file contains, and counts operations.
Large arrays stay in the file until they are read directly into their own memory, so that reading costs little more
than the arrays themselves.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.allowlist import LARGEST_KEY, NUMPY_AND_CONTAINERS, Allowed, Budget, Refusal, expect
from ppzoo.safe_pickle.stack_machine import MAX_OPERATIONS, Machine

_DAMAGE = (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, struct.error, MemoryError)


def unpickle(
    stream: BinaryIO,
    source: object,
    *,
    allowed: Mapping[str, Allowed] = NUMPY_AND_CONTAINERS,
    persistent: Callable[[Any], Any] | None = None,
    budget: Budget | None = None,
) -> Any:
    """What is pickled at the position of `stream`: dicts, lists, tuples, text, numbers and NumPy arrays.

    Args:
        stream: a seekable file; it is left at the pickle's end.
        source: what the errors call it.
        allowed: dotted names that the pickle may use.
        persistent: gives the object of a persistent id; without it, persistent ids are refused.
        budget: bytes that the arrays may claim; by default as many as the stream has.

    Raises:
        WeightsError: the pickle is damaged, or wants more than values; the name of what it wanted to call is given.
    """
    machine = Machine(stream, allowed, persistent, budget)
    try:
        return machine.resolve(_run(machine))
    except Refusal as refusal:
        problem = f"{source} is refused: {refusal}; weight files hold arrays and plain containers only"
    except EOFError:
        problem = f"{source} ends too early: it is truncated, get it again"
    except _DAMAGE:
        problem = f"{source} is damaged, or no weight file: its pickle makes no sense near byte {stream.tell()}"
    raise WeightsError(problem)


def _run(machine: Machine) -> Any:
    read = machine.stream.read
    for _ in range(MAX_OPERATIONS):
        code = read(1)
        action = _ACTIONS.get(code)
        if action is not None:
            action(machine)
        elif code == pickle.STOP:
            return machine.stack.pop()
        elif code == b"":
            raise EOFError
        else:
            raise Refusal(f"it uses {_NAMES.get(code, f'the unknown opcode {code!r}')}")
    raise Refusal(f"it has more than {MAX_OPERATIONS} operations")


Action = Callable[[Machine], object]


def _push(value: Callable[[Machine], Any]) -> Action:
    """The action that pushes `value(machine)`; what that pops is popped first."""

    def action(machine: Machine) -> None:
        result = value(machine)
        machine.stack.append(result)

    return action


def _constant(value: Any) -> Action:
    return lambda machine: machine.stack.append(value)


def _empty(kind: type) -> Action:
    return lambda machine: machine.stack.append(kind())


def _number(form: str) -> Action:
    return lambda machine: machine.stack.append(machine.number(form))


def _integer(form: str) -> Action:
    return lambda machine: machine.stack.append(machine.integer(machine.number(form)))


def _data(form: str, encoding: str | None) -> Action:
    return lambda machine: machine.stack.append(machine.data(machine.number(form), encoding))


def _tuple(count: int) -> Action:
    return lambda machine: machine.stack.append(machine.pop(count))


def _put(position: Callable[[Machine], int]) -> Action:
    def action(machine: Machine) -> None:
        place = position(machine)
        expect(0 <= place < LARGEST_KEY, "it refers to a place that cannot be")
        machine.memo[place] = machine.stack[-1]

    return action


def _get(position: Callable[[Machine], int]) -> Action:
    return lambda machine: machine.stack.append(machine.memo[position(machine)])


def _proto(machine: Machine) -> None:
    version = machine.number("<B")
    expect(version <= pickle.HIGHEST_PROTOCOL, f"it is written in the unknown pickle protocol {version}")


def _frame(machine: Machine) -> None:
    if machine.number("<Q") > machine.size - machine.stream.tell():
        raise EOFError


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()


def _mark_to_dict(machine: Machine) -> None:
    pairs = machine.pop_to_mark()
    machine.stack.append({})
    machine.update(pairs)


def _instance(machine: Machine) -> Any:
    function = machine.find(machine.line(), machine.line())
    return machine.call(function, tuple(machine.pop_to_mark()))


def _text_integer(machine: Machine) -> int:
    line = machine.line()
    expect(len(line) <= 40, "it has an integer of more than 40 digits")
    return line == "01" if line in ("00", "01") else int(line.removesuffix("L"))


def _text_string(machine: Machine) -> str:
    line = machine.line("latin-1")
    expect(len(line) >= 2 and line[0] == line[-1] and line[0] in "'\"", "it has a string without quotes")
    return line[1:-1].encode("latin-1").decode("unicode_escape")


def _text_unicode(machine: Machine) -> str:
    return machine.line("latin-1").encode("latin-1").decode("raw_unicode_escape")


_NAMES = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}

# Not here, and so refused: new objects by class (NEWOBJ, OBJ, ...), the extension registry, sets, outside buffers.
_ACTIONS: dict[bytes, Action] = {
    pickle.PROTO: _proto,
    pickle.FRAME: _frame,
    # numbers and constants
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    pickle.BININT: _number("<i"),
    pickle.BININT1: _number("<B"),
    pickle.BININT2: _number("<H"),
    pickle.BINFLOAT: _number(">d"),
    pickle.LONG1: _integer("<B"),
    pickle.LONG4: _integer("<i"),
    pickle.INT: _push(_text_integer),
    pickle.LONG: _push(_text_integer),
    pickle.FLOAT: _push(lambda machine: float(machine.line())),
    # bytes and text; the strings of Python 2 are either, and are read as Latin-1
    pickle.SHORT_BINBYTES: _data("<B", None),
    pickle.BINBYTES: _data("<I", None),
    pickle.BINBYTES8: _data("<Q", None),
    pickle.BYTEARRAY8: _data("<Q", None),
    pickle.SHORT_BINUNICODE: _data("<B", "utf-8"),
    pickle.BINUNICODE: _data("<I", "utf-8"),
    pickle.BINUNICODE8: _data("<Q", "utf-8"),
    pickle.SHORT_BINSTRING: _data("<B", "latin-1"),
    pickle.BINSTRING: _data("<i", "latin-1"),
    pickle.STRING: _push(_text_string),
    pickle.UNICODE: _push(_text_unicode),
    # containers
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.EMPTY_LIST: _empty(list),
    pickle.EMPTY_DICT: _empty(dict),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.TUPLE: _push(lambda machine: tuple(machine.pop_to_mark())),
    pickle.LIST: _push(lambda machine: machine.pop_to_mark()),
    pickle.DICT: _mark_to_dict,
    pickle.APPEND: lambda machine: machine.extend(machine.pop(1)),
    pickle.APPENDS: lambda machine: machine.extend(machine.pop_to_mark()),
    pickle.SETITEM: lambda machine: machine.update(machine.pop(2)),
    pickle.SETITEMS: lambda machine: machine.update(machine.pop_to_mark()),
    # stack and memo
    pickle.MARK: lambda machine: machine.mark(),
    pickle.POP: _pop,
    pickle.POP_MARK: lambda machine: machine.pop_to_mark(),
    pickle.DUP: _push(lambda machine: machine.stack[-1]),
    pickle.MEMOIZE: _put(lambda machine: len(machine.memo)),
    pickle.BINPUT: _put(lambda machine: machine.number("<B")),
    pickle.LONG_BINPUT: _put(lambda machine: machine.number("<I")),
    pickle.PUT: _put(_text_integer),
    pickle.BINGET: _get(lambda machine: machine.number("<B")),
    pickle.LONG_BINGET: _get(lambda machine: machine.number("<I")),
    pickle.GET: _get(_text_integer),
    # names, calls and states
    pickle.GLOBAL: _push(lambda machine: machine.find(machine.line(), machine.line())),
    pickle.STACK_GLOBAL: _push(lambda machine: machine.find(*machine.pop(2))),
    pickle.REDUCE: _push(lambda machine: machine.call(*machine.pop(2))),
    pickle.INST: _push(_instance),
    pickle.BUILD: lambda machine: machine.build(*machine.pop(1)),
    pickle.PERSID: _push(lambda machine: machine.persist(machine.line())),
    pickle.BINPERSID: _push(lambda machine: machine.persist(machine.stack.pop())),
}
