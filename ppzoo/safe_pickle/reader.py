"""The only reader of pickled files: an interpreter for the opcodes that weight files use. No file can execute code.

The standard unpickler calls the functions that a file names and trusts the lengths that a file contains. This reader
looks up every name in an allowlist (`ppzoo.safe_pickle.allowlist`), compares the lengths of long values with the file's
size before it allocates memory, and limits the number of operations. Large arrays stay in the file until they are read
directly into their final memory, so that reading needs little more memory than the arrays themselves.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.allowlist import (
    MAX_KEY,
    NUMPY_AND_CONTAINERS,
    AllowedCall,
    MemoryBudget,
    UnpicklingRefused,
    require,
)
from ppzoo.safe_pickle.stack_machine import MAX_OPERATIONS, StackMachine

_MALFORMED = (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, struct.error, MemoryError)


def unpickle(
    stream: BinaryIO,
    source: object,
    *,
    allowed: Mapping[str, AllowedCall] = NUMPY_AND_CONTAINERS,
    persistent: Callable[[Any], Any] | None = None,
    budget: MemoryBudget | None = None,
) -> Any:
    """Return the pickled object at the position of `stream`: dicts, lists, tuples, text, bytes, numbers, None, arrays.

    Args:
        stream: a seekable file; afterwards its position is the end of the pickle.
        source: name of the file in error messages.
        allowed: dotted names that the pickle can use.
        persistent: returns the object of a persistent id; by default, persistent ids are refused.
        budget: bytes that the arrays can allocate; by default the size of the stream plus 1 MiB.

    Raises:
        WeightsError: the pickle is damaged, or contains anything but these objects and those of `persistent`. If it
            calls a function that is not allowed, the message names the function.
    """
    machine = StackMachine(stream, allowed, persistent, budget)
    try:
        return machine.resolve(_run(machine))
    except UnpicklingRefused as refusal:
        problem = f"{source} is refused: {refusal}; expected arrays and plain containers only"
    except EOFError:
        problem = f"{source} is truncated; restore or download it"
    except _MALFORMED:
        problem = f"{source} is damaged or not a weight file: invalid pickle near byte {stream.tell()}"
    raise WeightsError(problem)


def _run(machine: StackMachine) -> Any:
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
            if code not in _NAMES:
                raise ValueError(f"unknown opcode {code!r}")
            raise UnpicklingRefused(f"it uses {_NAMES[code]}")
    raise UnpicklingRefused(f"it contains more than {MAX_OPERATIONS} operations")


Action = Callable[[StackMachine], object]


def _push(value: Callable[[StackMachine], Any]) -> Action:
    """Return the action that pushes `value(machine)`; `value` can pop its operands."""

    def action(machine: StackMachine) -> None:
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


def _put(position: Callable[[StackMachine], int]) -> Action:
    def action(machine: StackMachine) -> None:
        key = position(machine)
        require(0 <= key < MAX_KEY, "it uses an invalid memo index")
        machine.memo[key] = machine.stack[-1]

    return action


def _get(position: Callable[[StackMachine], int]) -> Action:
    return lambda machine: machine.stack.append(machine.memo[position(machine)])


def _proto(machine: StackMachine) -> None:
    version = machine.number("<B")
    require(version <= pickle.HIGHEST_PROTOCOL, f"it has the unknown pickle protocol {version}")


def _frame(machine: StackMachine) -> None:
    if machine.number("<Q") > machine.size - machine.stream.tell():
        raise EOFError


def _pop(machine: StackMachine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()


def _mark_to_dict(machine: StackMachine) -> None:
    pairs = machine.pop_to_mark()
    machine.stack.append({})
    machine.update(pairs)


def _instance(machine: StackMachine) -> Any:
    function = machine.find(machine.line(), machine.line())
    return machine.call(function, tuple(machine.pop_to_mark()))


def _text_integer(machine: StackMachine) -> int:
    line = machine.line()
    require(len(line) <= 40, "it contains an integer of more than 40 digits")
    return line == "01" if line in ("00", "01") else int(line.removesuffix("L"))


def _text_string(machine: StackMachine) -> str:
    line = machine.line("latin-1")
    require(len(line) >= 2 and line[0] == line[-1] and line[0] in "'\"", "it contains a string without quotes")
    return line[1:-1].encode("latin-1").decode("unicode_escape")


def _text_unicode(machine: StackMachine) -> str:
    return machine.line("latin-1").encode("latin-1").decode("raw_unicode_escape")


_NAMES = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}

# Not listed and therefore refused: objects by class (NEWOBJ, OBJ, ...), extension registry, sets, out-of-band buffers.
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
    # bytes and text; strings of Python 2 can be either, and are read as Latin-1
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
