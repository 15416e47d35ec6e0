"""Several processes that train one network: `python -m paddle.distributed.launch`, data parallel.

Each process has the whole network and its share of every batch. They average their gradients before a step and gather
their figures after it, so that all of them hold the same parameters, figures and decisions at any moment. The first
one writes. Without the launcher there is one process, for which everything here does nothing.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import paddle
import paddle.distributed as dist
from paddle import Tensor

from ppzoo.engine.peer_watchdog import PATIENCE, PeerError, PeerWatchdog
from ppzoo.engine.rendezvous import rendezvous_timeout
from ppzoo.errors import ConfigError, Interrupted, TrainingError
from ppzoo.launcher import Launch, read_launch

T = TypeVar("T")

TIME_LIMIT = "FLAGS_stop_check_timeout"
HEARING = 3.0  # seconds in which a failure of another process is heard of after a transfer broke


class ProcessGroup:
    """This process among those of a run; alone by default.

    Attributes:
        rank: its number; process 0 is the first.
        size: how many there are.
        launched: whether PaddlePaddle's launcher started it, which asks it to stop by several SIGTERM in a row.
    """

    rank, size = 0, 1

    @property
    def launched(self) -> bool:
        return "PADDLE_TRAINER_ID" in os.environ

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every process's value, in their order."""
        return [value]

    def share(self, value: T) -> T:
        """The first process's value."""
        return value

    def largest(self, value: int) -> int:
        """The largest of the processes' values."""
        return value

    def pool(self, values: list[T]) -> list[T]:
        """The values of all processes in one list; a short transfer where there are none."""
        return [value for part in self.gather(values) for value in part] if self.largest(len(values)) else []

    def wait(self) -> None:
        """Until all processes have come here."""

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's values of some tensors."""

    def weighted(self, loss: Tensor, weight: float, all_weights: float) -> Tensor:
        """The loss of this process's part of a batch, so that the mean over the processes is the whole batch's mean."""
        return loss

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put the mean over the processes in the place of each parameter's gradient."""

    @contextmanager
    def end_together(self) -> Iterator[None]:
        """While it is open, a failure of one process ends all.

        Raises:
            PeerError: another process failed.
        """
        yield


SINGLE_PROCESS = ProcessGroup()


class _Several(ProcessGroup):
    """More than one, connected by PaddlePaddle: NCCL on GPUs, gloo on CPUs."""

    def __init__(self, launch: Launch) -> None:
        with rendezvous_timeout(launch, _patience()):
            self._connect()

    def _connect(self) -> None:
        if paddle.get_device().startswith("cpu"):
            os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # where the launcher saw GPUs it would be NCCL
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            dist.init_parallel_env()  # it prints the flags that are not PaddlePaddle's defaults
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        host = dist.ParallelEnv().current_endpoint.partition(":")[0]
        self.lifeline = PeerWatchdog(self.rank, self.size, self.share, host)

    def gather(self, value: T) -> list[T]:
        values: list[T] = []
        dist.all_gather_object(values, value)
        return values

    def share(self, value: T) -> T:
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def largest(self, value: int) -> int:
        tensor = paddle.to_tensor([value], "int64")
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.item()

    def wait(self) -> None:
        self.largest(0)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            values = tensor.detach().clone()
            dist.broadcast(values, 0)
            tensor.set_value(values)

    def weighted(self, loss: Tensor, weight: float, all_weights: float) -> Tensor:
        share = weight * self.size / all_weights
        return loss if share == 1 else loss * share

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        by_type: dict[Any, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter)
        with paddle.no_grad():
            for group in by_type.values():
                self._average(group)

    def _average(self, parameters: list[Tensor]) -> None:
        """In one transfer, for many small ones would take longer."""
        flat = paddle.concat([parameter.grad.reshape([-1]) for parameter in parameters])
        dist.all_reduce(flat)
        pieces = paddle.split(flat / self.size, [parameter.size for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad.set_value(piece.reshape(parameter.shape))

    @contextmanager
    def end_together(self) -> Iterator[None]:
        try:
            yield
            self.wait()
        except (PeerError, Interrupted):
            raise  # the others know
        except BaseException as error:
            # A transfer breaks when the other end is gone: the cause is there, not here.
            failure = self.lifeline.failure_of_others(HEARING if isinstance(error, RuntimeError) else 0)
            if failure is not None:
                raise failure from error
            self.lifeline.tell(error)
            raise
        finally:
            self.lifeline.close()


def init_process_group() -> ProcessGroup:
    """Connect with the other processes of the launcher, if there are any, on the device that is selected.

    Raises:
        ConfigError: the launcher's variables are left over from something else.
        TrainingError: they cannot be reached.
    """
    launch = read_launch(os.environ)
    if launch.size < 2:
        return SINGLE_PROCESS
    try:
        return _Several(launch)
    except (RuntimeError, ValueError, OSError) as error:  # as PaddlePaddle classifies what went wrong
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise TrainingError(f"expected to reach the other processes of the training, got: {reason}") from error


def _patience() -> float:
    """Seconds in which all must have met: PaddlePaddle's variable for it, or our default."""
    text = os.environ.get(TIME_LIMIT)
    if text is None:
        return PATIENCE
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise ConfigError(f"{TIME_LIMIT}: expected a number of seconds, got {text!r:.60}")
    return float(text)


@contextmanager
def share_files(processes: ProcessGroup, prefix: Path) -> Iterator[Path]:
    """The prefix under which this process finds a checkpoint of the first one: that of a copy where it is another one.

    Processes of several machines need no common disk then.

    Args:
        prefix: what the names of the files begin with, where the first process finds them.
    """
    if processes.size == 1:
        yield prefix
        return
    name = prefix.stem if prefix.suffix.startswith(".pd") else prefix.name
    files = [*prefix.parent.glob(f"{glob.escape(name)}.*"), *prefix.parent.glob("best_model.pdstates")]
    contents = processes.share({file.name: file.read_bytes() for file in files} if processes.first else {})
    if processes.first:
        yield prefix
        return
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        for name, content in contents.items():
            Path(folder, name).write_bytes(content)
        yield Path(folder, prefix.name)
