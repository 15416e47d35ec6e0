"""Data-parallel training by several processes, started with `python -m paddle.distributed.launch`.

Each process has the complete network and its share of every batch. The processes average their gradients during the
backward pass and gather their metrics, so that all of them have the same trained parameters, metrics and decisions at
any time. The main process, that of rank 0, writes the files. Without the launcher there is one process, and nothing is
transferred.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import paddle
import paddle.distributed as dist
from paddle import Tensor

from ppzoo.engine.gradient_averaging import BucketAverager, GradientAverager
from ppzoo.engine.peer_watchdog import CONNECT_TIMEOUT, PeerError, PeerWatchdog
from ppzoo.engine.rendezvous import rendezvous_timeout
from ppzoo.errors import ConfigError, Interrupted, TrainingError
from ppzoo.launcher import Launch, read_launch
from ppzoo.layers import has_synchronized_norms

T = TypeVar("T")

TIMEOUT_FLAG = "FLAGS_stop_check_timeout"
FAILURE_DELAY = 3.0  # seconds to wait, after a failed transfer, for another process to report its failure


class ProcessGroup:
    """The processes of a run, as seen by one of them; this base class is the group of a single process.

    Attributes:
        rank: number of this process; 0 is the main process.
        size: number of processes.
    """

    rank, size = 0, 1

    @property
    def is_launched(self) -> bool:
        """Whether PaddlePaddle's launcher started this process; the launcher ends it by several SIGTERM in a row."""
        return "PADDLE_TRAINER_ID" in os.environ

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        return [value]

    def broadcast_object(self, value: T) -> T:
        """Return the value of the main process."""
        return value

    def all_reduce_max(self, value: int) -> int:
        """Return the largest of the processes' values."""
        return value

    def all_gather_lists(self, values: list[T]) -> list[T]:
        """Return the concatenated lists of all processes; if all are empty, only their lengths are transferred."""
        if not self.all_reduce_max(len(values)):
            return []
        return [value for part in self.all_gather(values) for value in part]

    def barrier(self) -> None:
        """Wait until all processes have called this."""

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Set tensors to their values in the main process."""

    def weigh_loss(self, loss: Tensor, weight: float, total_weight: float) -> Tensor:
        """Return this process's mean loss, scaled so that the mean over the processes is that over the whole batch.

        Args:
            weight: weight of this process's part of the batch.
            total_weight: sum of the weights of all processes.
        """
        return loss

    def gradient_averager(self, model: paddle.nn.Layer, *, overlap: bool = True) -> GradientAverager:
        """Return an object that averages the gradients of a model over the processes.

        Args:
            overlap: average during the backward pass where possible.
        """
        return GradientAverager()

    @contextmanager
    def abort_together(self) -> Iterator[None]:
        """End all processes if one of them fails while the context is open.

        Raises:
            PeerError: another process failed.
        """
        yield


SINGLE_PROCESS = ProcessGroup()


class _MultiProcessGroup(ProcessGroup):
    """More than one process, connected by PaddlePaddle: NCCL on GPUs, Gloo on CPUs."""

    def __init__(self, launch: Launch) -> None:
        with rendezvous_timeout(launch, _timeout()):
            self._connect()

    def _connect(self) -> None:
        if paddle.get_device().startswith("cpu"):
            os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # NCCL otherwise, if the launcher found GPUs
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            dist.init_parallel_env()  # prints flags that differ from PaddlePaddle's defaults
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # NCCL transfers in the background. Gloo does not, so a thread of this process runs its transfers.
        self._thread = ThreadPoolExecutor(1) if paddle.get_device().startswith("cpu") else None
        host = dist.ParallelEnv().current_endpoint.partition(":")[0]
        self.watchdog = PeerWatchdog(self.rank, self.size, self.broadcast_object, host)

    def all_gather(self, value: T) -> list[T]:
        values: list[T] = []
        dist.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: T) -> T:
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def all_reduce_max(self, value: int) -> int:
        tensor = paddle.to_tensor([value], "int64")
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.item()

    def barrier(self) -> None:
        self.all_reduce_max(0)

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            values = tensor.detach().clone()
            dist.broadcast(values, 0)
            tensor.set_value(values)

    def weigh_loss(self, loss: Tensor, weight: float, total_weight: float) -> Tensor:
        factor = weight * self.size / total_weight
        return loss if factor == 1 else loss * factor

    def gradient_averager(self, model: paddle.nn.Layer, *, overlap: bool = True) -> GradientAverager:
        overlap &= not has_synchronized_norms(model)  # these norms use the same connections during the backward pass
        return BucketAverager(model.parameters(), self.size, self._start_all_reduce, overlap=overlap)

    def _start_all_reduce(self, tensor: Tensor) -> Callable[[], object]:
        """Start to add a tensor to those of the other processes, in place; return a function that waits for the sum."""
        if self._thread is None:
            return cast("Callable[[], object]", dist.all_reduce(tensor, sync_op=False).wait)
        return self._thread.submit(dist.all_reduce, tensor).result

    @contextmanager
    def abort_together(self) -> Iterator[None]:
        try:
            yield
            self.barrier()
        except (PeerError, Interrupted):
            raise  # the other processes end, too
        except BaseException as error:
            # A transfer also fails if another process has ended; then the failure of that process is the cause.
            failure = self.watchdog.wait_for_failure(FAILURE_DELAY if isinstance(error, RuntimeError) else 0)
            if failure is not None:
                raise failure from error
            self.watchdog.broadcast_failure(error)
            raise
        finally:
            self.watchdog.close()


def init_process_group() -> ProcessGroup:
    """Connect the processes that the launcher started, if there are several, on the selected device.

    Raises:
        ConfigError: the launcher's environment variables are incomplete or contradict each other.
        TrainingError: the other processes cannot be reached.
    """
    launch = read_launch(os.environ)
    if launch.size < 2:
        return SINGLE_PROCESS
    try:
        return _MultiProcessGroup(launch)
    except (RuntimeError, ValueError, OSError) as error:  # the types that PaddlePaddle raises
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise TrainingError(f"cannot connect to the other processes of the run: {reason}") from error


def _timeout() -> float:
    """Return the seconds within which all processes must have connected: PaddlePaddle's variable, or a default."""
    text = os.environ.get(TIMEOUT_FLAG)
    if text is None:
        return CONNECT_TIMEOUT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise ConfigError(f"{TIMEOUT_FLAG}: expected an integer number of seconds above 0, got {text!r:.60}")
    return float(text)


@contextmanager
def share_files(processes: ProcessGroup, prefix: Path) -> Iterator[Path]:
    """Make the files of a checkpoint available to all processes, also without a common file system.

    Args:
        prefix: common prefix of the files' paths on the machine of the main process.

    Yields:
        The prefix for this process; except in the main process, it is that of temporary copies.
    """
    if processes.size == 1:
        yield prefix
        return
    name = prefix.stem if prefix.suffix.startswith(".pd") else prefix.name
    files = [*prefix.parent.glob(f"{glob.escape(name)}.*"), *prefix.parent.glob("best_model.pdstates")]
    contents = processes.broadcast_object({file.name: file.read_bytes() for file in files} if processes.is_main else {})
    if processes.is_main:
        yield prefix
        return
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        for file_name, content in contents.items():
            Path(folder, file_name).write_bytes(content)
        yield Path(folder, prefix.name)
