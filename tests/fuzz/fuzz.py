"""Fuzzes one reader, guided by coverage: `python tests/fuzz/fuzz.py NAME [SECONDS]`; needs `pip install 'ppzoo[fuzz]'`.

It begins with `corpus/NAME/`, keeps what it finds in a folder of its own (PPZOO_FUZZ, by default fuzz/ in the
temporary folder), and ends at the first error that is not ours, whose input it leaves there as crash-*.
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

READERS = ("config", "override", "list", "idx", "weights", "state", "packed_weights", "tar", "image", "program")
SLOWEST = 10  # seconds that one input may take, instrumented
MOST_MEMORY = 8192  # MiB; instrumented comparisons of arrays leak, 3 KiB a list file: 5 GiB in ten minutes
LONGEST = 1 << 13  # bytes of an input

with atheris.instrument_imports(include=["ppzoo", "yaml", "zipfile"]):
    import readers


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "600"
    if name not in READERS:
        sys.exit(f"expected one of {', '.join(READERS)}, got {name!r}")
    place = Path(os.environ.get("PPZOO_FUZZ", Path(tempfile.gettempdir()) / "fuzz")) / name
    place.mkdir(parents=True, exist_ok=True)
    limits = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MOST_MEMORY}",
        f"-max_len={LONGEST}",
    ]
    atheris.Setup(
        [
            sys.argv[0],
            str(place),
            str(readers.CORPUS / name),
            *limits,
            f"-artifact_prefix={place}/",
            "-print_final_stats=1",
        ],
        lambda data: readers.feed(name, data),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
