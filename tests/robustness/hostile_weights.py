"""Malicious weight files: `python tests/robustness/hostile_weights.py [COUNT]` reads COUNT files of each format.

Most are valid files with random damage; the others try to run code, or to allocate memory or consume time without
bounds. Each is read in a separate process that can allocate 1 GiB. The result must be its arrays, or a WeightsError of
one line, within five seconds; no code of the file is run.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "fuzz")]

from readers import READERS, seeds  # noqa: E402
from test_readers import damaged  # noqa: E402

from ppzoo.errors import WeightsError  # noqa: E402
from ppzoo.weights import read  # noqa: E402

GIB = 1 << 30
SECONDS = 5.0
MODULUS = (1 << 61) - 1  # integers that differ by it have the same hash
CALLS = (
    b"cos\nsystem\n(S'touch CANARY'\ntR.",
    b"cposix\nsystem\n(X\x0c\x00\x00\x00touch CANARYtR.",
    b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x1dopen('CANARY','w').write('x')\x85R.",
    b"(S'touch CANARY'\nios\nsystem\n.",
    b"cbuiltins\neval\n(S\"open('CANARY','w')\"\ntR.",
    b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nS'__call__'\ntR(S'os'\ntR.",
    b"\x80\x02csubprocess\nPopen\n(S'touch'\nS'CANARY'\nltR.",
    b"\x80\x02cbuiltins\nobject\n)\x81}S'x'\nS'y'\nsb.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\nI0\nS'b'\ntR.",
    b"ccodecs\nopen\n(S'CANARY'\nS'w'\ntR.",
)
INT4 = struct.Struct("<I").pack


def long_integer(number: int) -> bytes:
    return b"\x8a\x0c" + number.to_bytes(12, "little")


def pickles() -> Iterator[bytes]:
    """Yield pickles that call functions, or need too many bytes, integers, memo slots, levels or seconds."""
    yield from CALLS
    yield b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60)
    yield b"\x80\x04}\x8c\x01aB" + INT4(0xFFFFFFF0)
    yield b"\x8b\xff\xff\xff\x7f"
    yield b"]r" + INT4(0xFFFFFFFF) + b"."
    yield b"]" * 200_000 + b"a" * 199_999 + b"."
    yield b"]q\x00" + b"(" + b"h\x00" * 1000 + b"e."
    yield (
        b"]q\x00"
        + b"".join(
            b"]q" + bytes([n]) + b"(" + b"h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"e" for n in range(1, 60)
        )
        + b"."
    )
    yield b"}(" + b"".join(long_integer(MODULUS * n) + b"N" for n in range(1, 100_000)) + b"u."
    yield b"]" + b"".join(b"p%d\n" % (MODULUS * n) for n in range(1, 100_000)) + b"."
    yield b"}(" + b"".join(b"X" + INT4(8) + b"%08dN" % n for n in range(150_000)) + b"u."
    yield b"N0" * 600_000 + b"."
    yield pickle.dumps({f"w{n}": np.zeros(1, "f4") for n in range(10_000)}, 4)


def archive(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x02\0" + INT4(len(header)) + header + data


def archives() -> Iterator[bytes]:
    """Yield archives that decompress to a much larger size, or have malicious members."""
    zeros = bytes(64 << 20)
    yield archive({"w.npy": zeros})
    yield archive({"net/data.pkl": b"\x80\x02}.", "net/data/0": zeros})
    yield archive({f"w{n}.npy": zeros[: 4 << 20] for n in range(40)})
    yield archive({"w.npy": zeros}, zipfile.ZIP_LZMA)
    yield archive({"w.npy": zeros}, zipfile.ZIP_BZIP2)
    yield archive({f"{n}.npy": b"" for n in range(5_000)})
    yield archive({"w.npy": npy(b"(" * 9_000)})
    yield archive({"w.npy": npy(b"[" * 90 + b"]" * 90)})
    yield archive({"w.npy": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 9999999)}")})
    yield archive({"w.npy": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", CALLS[0])})
    yield archive({"w.npy": npy(b"{'descr': [('a', '<f4', (9999999, 99999))], 'fortran_order': False, 'shape': (1,)}")})
    yield archive({"w.npy": npy(b"__import__('os').system('touch CANARY')")})
    for call in pickles():
        yield archive({"net/data.pkl": call})


def safetensors() -> Iterator[bytes]:
    def file(header: bytes, length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header

    yield file(b"{", 1 << 62)
    yield file(b"{" + b'"a":{' * 100_000)
    yield file(b'{"a":' + b"[" * 100_000)
    yield file(b'{"a":[' + b"{}," * 2_000_000 + b"1]}")
    yield file(b'{"a":' + b"9" * 1_000_000 + b"}")
    yield file(b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}')
    yield file(b'{"a":{"dtype":"F32","shape":[0,99999999999999],"data_offsets":[0,0]}}')
    yield file(b'{"__metadata__":[1]}')
    yield file(b'{"a":null}')


def legacy() -> Iterator[bytes]:
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    for call in pickles():
        yield head + call
    yield head + b"\x80\x02}." + pickle.dumps(["0"] * 1000, 2)


def inference() -> Iterator[bytes]:
    """Yield inputs of the fuzzer's `packed_weights`: parameters, program, name table."""

    def model(parameters: bytes, program: bytes, names: bytes = b"") -> bytes:
        return b"i" + b"\0|\0|".join((parameters, program, names))

    program = b'{"program":{"regions":[{"blocks":[{"ops":[{"#":"p","A":[0,0,0,"w"]}]}]}]}}'
    head = struct.pack("<IQI", 0, 0, 0)
    yield model(head + struct.pack("<i", 1 << 30), program)
    yield model(struct.pack("<IQQ", 0, 8, 1 << 60), program)
    yield model(head + struct.pack("<i", 12) + b"\x08\x05" + b"\x10\xff\xff\xff\xff\xff\xff\xff\x7f\x10", program)
    yield model(head, b'{"program":' + b"[" * 200_000)
    yield model(head, b'{"program":[' + b"{}," * 5_000_000 + b"1]}")
    yield model(head, b"\x08\0" * 900_000)
    yield model(head, b"\x0a\xf0\xff\xff\x07" + (b"\x1a\x80\x80\x40" + b"\x08\0" * (1 << 19)) * 15)
    yield model(head, program.replace(b'"w"', b'{"a":1}'))
    for call in CALLS:
        yield model(head, program, call)


FORMATS = {
    "pickle": pickles,
    "archive": archives,
    "safetensors": safetensors,
    "legacy": legacy,
    "inference": inference,
}


def valid_files(kind: str) -> list[bytes]:
    """Return valid files of a format."""
    if kind == "inference":
        return [data for data in seeds("packed_weights") if data[:1] == b"i"]
    files = seeds("weights")
    if kind == "archive":
        return [data for data in files if data[:2] == b"PK"]
    if kind == "legacy":
        return [data for data in files if data[:3] == b"\x80\x02\x8a"]
    if kind == "safetensors":
        return [data for data in files if data[8:9] == b"{"]
    return [data for data in files if data[:1] == b"\x80" and data[:3] != b"\x80\x02\x8a"]


def hostile_files(kind: str, count: int) -> Iterator[bytes]:
    """Yield `count` files of a format: the crafted ones, then damaged ones."""
    number = 0
    for data in FORMATS[kind]():
        yield data
        number += 1
    chance, reference = random.Random(kind), valid_files(kind)
    for _ in range(number, count):
        yield damaged(chance.choice(reference), chance, chance.randint(1, 8))


def read_in_bounds(kind: str, data: bytes, folder: Path) -> tuple[str, float]:
    """Read a file in a separate process; return the outcome and the seconds."""
    file = folder / "model"
    file.write_bytes(data)
    began = time.time()
    child = os.fork()
    if not child:
        os.chdir(folder)
        claimed = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (claimed + GIB, claimed + GIB))
        status = 9
        try:
            if kind == "inference":
                READERS["packed_weights"](data, folder)
            else:
                read(file)
            status = 0
        except WeightsError as error:
            status = 2 if "\n" not in str(error) and len(str(error)) < 1000 else 8
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "read", 2: "refused", 8: "refused in many lines"}.get(status, f"failed ({status})"), time.time() - began


def measure(kind: str, count: int) -> tuple[Counter, float, list[str]]:
    """Return the outcomes of the files of a format, the longest time in seconds, and the problems."""
    outcomes, longest, wrong = Counter(), 0.0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(hostile_files(kind, count)):
            outcome, seconds = read_in_bounds(kind, data, folder)
            outcomes[outcome] += 1
            longest = max(longest, seconds)
            if outcome not in ("read", "refused") or seconds > SECONDS or (folder / "CANARY").exists():
                wrong.append(f"{kind} {number}: {outcome} in {seconds:.1f} s, {len(data)} bytes, {data[:60]!r}")
    return outcomes, longest, wrong


def main() -> None:
    count, wrong = int(sys.argv[1]) if len(sys.argv) > 1 else 400, []
    for kind in FORMATS:
        outcomes, longest, problems = measure(kind, count)
        print(f"{kind}: {dict(outcomes)}, at most {longest:.2f} s", *problems, sep="\n  ", flush=True)
        wrong += problems
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
