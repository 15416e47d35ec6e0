"""The display of a terminal during training: a table of the last epochs, and step and metrics of the current one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppzoo import terminal
from ppzoo.events import EpochReport, StepReport
from ppzoo.progress import duration_text
from ppzoo.report.speed import Speed

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.segment import Segment
    from rich.table import Table

MAX_ROWS = 10
MAX_METRICS = 2  # columns for training, and as many for evaluation
OTHER_LINES = 6  # lines of the terminal that the table leaves free
GAP = 2
SMALL_RATE = 0.0001


@dataclass
class Column:
    """A column: its cells from top to bottom; a narrow terminal omits the columns of the highest ranks first."""

    title: str
    cells: list[str]
    rank: int

    def width(self) -> int:
        from rich.cells import cell_len

        return max(cell_len(text) for text in (self.title, *self.cells))


class EpochTable:
    """The table that `terminal.display` draws; `update` and `add_epoch` change its content.

    Args:
        speed: measures the run's speed.
    """

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.epochs: list[EpochReport] = []
        self.best: EpochReport | None = None
        self.step: StepReport | None = None
        self.metrics: Mapping[str, float] = {}
        self._drawn: tuple[tuple[int, int, int], list[Segment]] | None = None

    def update(self, report: StepReport, metrics: Mapping[str, float]) -> None:
        self.step, self.metrics = report, metrics

    def add_epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)
        self.best = report if report.is_best else self.best
        self.step = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segments

        if self.epochs:
            yield Segments(self._rows(console, options))
        if self.step is not None:
            yield from self._current_epoch(self.step, options.max_width)

    def _rows(self, console: Console, options: ConsoleOptions) -> list[Segment]:
        """Return the drawn table, which changes only with an epoch or the size of the terminal."""
        size = (len(self.epochs), options.max_width, options.size.height)
        if self._drawn is None or self._drawn[0] != size:
            rows = max(1, min(MAX_ROWS, options.size.height - OTHER_LINES))
            self._drawn = (size, list(console.render(self.table(options.max_width, rows), options)))
        return self._drawn[1]

    def table(self, width: int, rows: int = MAX_ROWS) -> Table:
        """Return the last epochs as a table of at most `width` columns."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
        columns = fit_columns(self._columns(self._shown_epochs(rows)), width)
        for column in columns:
            table.add_column(Text(column.title), justify="right", no_wrap=True)
        for cells in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*map(Text, cells), style="green" if cells[-1] == "best" else None)
        return table

    def _shown_epochs(self, rows: int) -> list[EpochReport]:
        """Return the last epochs, after the best one if that is earlier."""
        last = self.epochs[-rows:]
        return last if self.best is None or self.best in last or rows == 1 else [self.best, *last[1:]]

    def _columns(self, epochs: list[EpochReport]) -> list[Column]:
        total = self.speed.epochs
        columns = [Column("epoch", [f"{report.epoch + 1}/{total}" for report in epochs], 0)]
        for part, values, rank in (
            ("train", [report.train for report in epochs], 5),
            ("eval", [report.evaluation or {} for report in epochs], 3),
        ):
            for position, name in enumerate(choose_metrics(values)):
                cells = [f"{metrics[name]:.4f}" if name in metrics else "" for metrics in values]
                columns.append(Column(f"{part} {name}", cells, rank - position))
        best = ["best" if report is self.best else "" for report in epochs]
        return [
            *columns,
            Column("lr", [format_rate(report.learning_rate) for report in epochs], 8),
            Column("images/s", [f"{report.images_per_second:.0f}" for report in epochs], 7),
            Column("time", [duration_text(report.train_seconds + report.eval_seconds) for report in epochs], 6),
            Column("", best, 1),
        ]

    def _current_epoch(self, step: StepReport, width: int) -> RenderResult:
        label = f"epoch {step.epoch + 1}/{self.speed.epochs}"
        values = [
            f"{step.step + 1}/{step.steps}",
            f"{duration_text(self.speed.seconds_left(step))} left",
            f"{self.speed.images_per_second:.0f} images/s",
        ]
        yield terminal.bar_line(label, (step.step + 1) / step.steps, values, width)
        metrics = [f"{name} {value:.4f}" for name, value in self.metrics.items()]
        yield terminal.bar_line("", None, [*metrics, f"lr {format_rate(step.learning_rate)}"], width)


def format_rate(rate: float) -> str:
    """Format a learning rate as '0.00477', and small ones as '3.1e-05'."""
    return f"{rate:.5f}" if rate == 0 or rate >= SMALL_RATE else f"{rate:.1e}"


def choose_metrics(reports: list[Mapping[str, float]]) -> list[str]:
    """Return the names of the metrics that have a column: the loss and the first other one, the main metric."""
    names = dict.fromkeys(name for metrics in reports for name in metrics)
    first = [name for name in ("loss",) if name in names]
    return [*first, *(name for name in names if name not in first)][:MAX_METRICS]


def fit_columns(columns: list[Column], width: int) -> list[Column]:
    """Return the columns without those of the highest ranks, so that they fit into the width."""
    while len(columns) > 1 and sum(column.width() + GAP for column in columns) - GAP > width:
        last = max(columns, key=lambda column: column.rank)
        columns = [column for column in columns if column is not last]
    return columns
