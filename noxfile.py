"""The checks of `.ci/run` as separate sessions, and the fuzzers: `nox -l` lists them, `nox -s NAME` runs one."""

import shlex
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
OLDEST_PADDLE = "2.6.2"
PARALLEL = ("-n", "2", "--dist", "loadfile")
FUZZERS = ("config", "override", "list", "idx", "weights", "state", "packed_weights", "tar", "image", "program")

nox.options.sessions = ["lint", "types", f"tests-{sys.version_info.major}.{sys.version_info.minor}"]
nox.options.error_on_missing_interpreters = False


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff's checks, its formatter and clang-format without changing files."""
    session.install("ruff>=0.8", "clang-format~=23.1")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    sources = session.run("git", "ls-files", "*.cc", "*.h", external=True, silent=True)
    session.run("clang-format", "--dry-run", "--Werror", *str(sources).split())


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy."""
    session.install("mypy>=1.11", "types-PyYAML", "rich>=13.7", "numpy")
    session.run("mypy")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the default tests, or those given after `--`."""
    session.install("-e", ".[cpu,test]")
    session.run("python", "-m", "pytest", *PARALLEL, *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests: large networks, kills, several processes, the sanitizers."""
    session.install("-e", ".[cpu,test]")
    session.run("python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session(python=["3.10", "3.11", "3.12"])
def oldest(session: nox.Session) -> None:
    """Run a part of the tests with the oldest supported PaddlePaddle."""
    session.install("-e", ".[test]", f"paddlepaddle=={OLDEST_PADDLE}")
    paths = shlex.split((ROOT / ".ci" / "oldest_paddle_tests").read_text(encoding="utf-8"))
    session.run("python", "-m", "pytest", "-x", *PARALLEL, *paths, env={"CUDA_VISIBLE_DEVICES": ""})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into `site`; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Run the native kernels under the address and undefined-behavior sanitizers."""
    session.install("-e", ".[cpu,test]")
    session.run("python", "-m", "pytest", "-m", "slow", "tests/native/test_native_sanitizers.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the readers for a minute each: `nox -s fuzz -- config tar` selects some of them."""
    session.install("-e", ".[cpu,fuzz]")
    for name in session.posargs or FUZZERS:
        session.run("python", "tests/fuzz/fuzz.py", name, "60")
