"""Coverage-guided fuzzing of one reader: `python tests/fuzz/fuzz.py NAME [SECONDS]`; needs `pip install 'ppzoo[fuzz]'`.

Fuzzing starts from `corpus/NAME/` and stores new inputs in a separate folder (PPZOO_FUZZ, by default fuzz/ in the
temporary folder). It stops at the first exception that is not one of ppzoo's, and stores its input there as crash-*.
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

READERS = ("config", "override", "list", "idx", "weights", "state", "packed_weights", "tar", "image", "program")
MAX_SECONDS = 10  # per input, instrumented
MAX_MEMORY = 8192  # MiB; instrumented comparisons of arrays leak 3 KiB per list file: 5 GiB in ten minutes
MAX_INPUT = 1 << 13  # bytes per input

with atheris.instrument_imports(include=["ppzoo", "yaml", "zipfile"]):
    import readers


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "600"
    if name not in READERS:
        sys.exit(f"expected one of {', '.join(READERS)}, got {name!r}")
    folder = Path(os.environ.get("PPZOO_FUZZ", Path(tempfile.gettempdir()) / "fuzz")) / name
    folder.mkdir(parents=True, exist_ok=True)
    limits = [
        f"-max_total_time={seconds}",
        f"-timeout={MAX_SECONDS}",
        f"-rss_limit_mb={MAX_MEMORY}",
        f"-max_len={MAX_INPUT}",
    ]
    atheris.Setup(
        [
            sys.argv[0],
            str(folder),
            str(readers.CORPUS / name),
            *limits,
            f"-artifact_prefix={folder}/",
            "-print_final_stats=1",
        ],
        lambda data: readers.feed(name, data),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
