"""Train, evaluate, export and predict in processes without the modules and functions that only POSIX systems have.

This approximates Windows and macOS on a Linux machine. A `sitecustomize` module, which Python imports when it starts,
removes these modules and functions, also in the processes that the commands start.
"""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.quick import override_options

ROOT = Path(__file__).parent.parent.parent
HIDE_POSIX = '''
import fcntl
import os
import signal
import sys
import types


class Timeout(TimeoutError):
    pass


class FileLock:
    # Replaces the class of the package filelock, which needs either POSIX or Windows.
    flock, exclusive, nonblocking = fcntl.flock, fcntl.LOCK_EX, fcntl.LOCK_NB

    def __init__(self, lock_file, mode=0o644, thread_local=True):
        self.lock_file, self.file = os.fspath(lock_file), None

    @property
    def is_locked(self):
        return self.file is not None

    def acquire(self, timeout):
        file = open(self.lock_file, "a")
        try:
            FileLock.flock(file, self.exclusive | (self.nonblocking if timeout == 0 else 0))
        except BlockingIOError as error:
            raise Timeout(self.lock_file) from error
        self.file = file

    def release(self):
        self.file.close()
        self.file = None


sys.modules["filelock"] = types.ModuleType("filelock")
sys.modules["filelock"].FileLock, sys.modules["filelock"].Timeout = FileLock, Timeout
del fcntl

import asyncio  # on Windows it uses none of them
import multiprocessing.popen_fork

multiprocessing.popen_fork.Popen.kill = multiprocessing.popen_fork.Popen.terminate  # as on Windows

for name in "fcntl resource pwd grp termios tty pty syslog readline".split():
    sys.modules[name] = None
MISSING = {
    os: """
        fork forkpty register_at_fork getuid geteuid getgid getegid getpgid setsid killpg wait3 wait4 waitid
        sched_getaffinity sched_setaffinity sysconf getloadavg nice preadv pread pwrite posix_fallocate posix_fadvise
        fchmod fchown chown lchown mkfifo mknod memfd_create O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC
    """,
    signal: """
        pthread_sigmask pthread_kill sigtimedwait sigwait sigwaitinfo sigpending alarm setitimer siginterrupt SIGKILL
        SIGHUP SIGCHLD SIGPIPE SIGUSR1 SIGUSR2 SIGALRM SIGQUIT SIGSTOP SIGCONT SIG_BLOCK SIG_UNBLOCK SIG_SETMASK
    """,
}
for module, names in MISSING.items():
    for name in names.split():
        vars(module).pop(name, None)


def refuse_symlink(*arguments, **options):
    raise OSError("symbolic link privilege not held")


os.symlink = refuse_symlink
'''
SMALL = [
    "Global.device=cpu",
    "Global.epochs=1",
    "Global.print_batch_step=10",
    "DataLoader.Train.sampler.batch_size=256",
    "DataLoader.Eval.sampler.batch_size=256",
    "Global.use_visualdl=True",
]
PREDICT = """
import sys
import ppzoo

predictions = ppzoo.Predictor(sys.argv[1], engine=sys.argv[2]).predict([sys.argv[3]] * 3)
assert len(predictions) == 3 and len(predictions[0]["class_ids"]) == 5
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment whose Python has no POSIX-only modules and functions."""
    folder = tmp_path_factory.mktemp("hide_posix")
    (folder / "sitecustomize.py").write_text(HIDE_POSIX)
    hidden = {name: value for name, value in os.environ.items() if not name.startswith(("PPZOO", "PADDLE", "FLAGS"))}
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**hidden, "PYTHONPATH": path, "PPZOO_HOME": str(folder / "home"), "PPZOO_NATIVE": "off"}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    return file


def run(environment, *arguments):
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_posix_is_hidden(environment):
    code = "import os, signal; assert not hasattr(os, 'fork') and not hasattr(signal, 'SIGKILL'); import fcntl"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr
    assert "AssertionError" not in done.stderr


def test_every_module_can_be_imported(environment):
    modules = sorted(
        ".".join(("ppzoo", *file.relative_to(ROOT / "ppzoo").with_suffix("").parts)).removesuffix(".__init__")
        for file in (ROOT / "ppzoo").rglob("*.py")
        if file.name != "__main__.py"
    )
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)"
    run(environment, "-c", code)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_train_evaluate_export_and_predict(environment, photo, tmp_path, num_workers):
    options = [
        *SMALL,
        f"Global.output_dir={tmp_path / 'output'}",
        f"Global.save_inference_dir={tmp_path / 'inference'}",
    ]
    options += [f"DataLoader.{mode}.loader.num_workers={num_workers}" for mode in ("Train", "Eval")]
    arguments = ["-c", str(ROOT / "configs" / "lenet.yaml"), *override_options(*options)]
    weights = ["-o", f"Global.pretrained_model={tmp_path / 'output' / 'LeNet' / 'latest'}"]

    run(environment, str(ROOT / "tools" / "train.py"), *arguments)
    assert (tmp_path / "output" / "LeNet" / "latest.pdparams").is_file()
    resumed = run(
        environment, str(ROOT / "tools" / "train.py"), *arguments, "--resume", "auto", "-o", "Global.epochs=2"
    )
    assert "latest" in resumed
    assert "top1" in run(environment, str(ROOT / "tools" / "eval.py"), *arguments, *weights)
    inferred = run(environment, str(ROOT / "tools" / "infer.py"), *arguments, *weights, str(photo))
    assert "photo.png" in inferred
    run(environment, str(ROOT / "tools" / "export_model.py"), *arguments, *weights)
    for engine in ("paddle", "auto"):
        run(environment, "-c", PREDICT, str(tmp_path / "inference"), engine, str(photo))
