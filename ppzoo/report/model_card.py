"""`model_card.md`: what a trained model is, what it was trained on, how good it is, and how to load it.

It is written at the end of a training, next to the weights. Names of classes, files and folders come from users: they
are escaped, so that they cannot become formatting, links or HTML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ppzoo.errors import count_text, one_line
from ppzoo.events import Callback, EpochReport, Summary
from ppzoo.report.writing import write_lines

MODEL_CARD = "model_card.md"
MAX_CLASSES = 20  # rows of the table of classes: the weakest ones
MAX_PAIRS = 5  # confused pairs of classes, or classes without images, that are named
MAX_NAME = 80  # characters of a name
_MARKDOWN = re.compile(r"([\\`*_\[\]#|!~@$])|(://)|(www\.)", re.IGNORECASE)


@dataclass(frozen=True)
class CardData:
    """A part of the data: where it is from, and the number of images (or of labels) per class."""

    source: str
    images: int
    per_class: Sequence[int]


@dataclass(frozen=True)
class CardFacts:
    """The facts about a model that are known before it is trained.

    Attributes:
        architecture: its name; `parameters` is the number of its parameters.
        classes: names of the classes, in order.
        image_shape: channels, height and width of the network's input.
        recipe: the settings of the training as (name, value).
        start: the source of the initial weights.
        limits: sentences about what the evaluation does not show.
        versions: program -> version.
        export_folder: where `ppzoo export` writes by default.
    """

    architecture: str
    parameters: int
    classes: Sequence[str]
    image_shape: Sequence[int]
    train: CardData
    evaluation: CardData | None
    recipe: Sequence[tuple[str, str]]
    start: str
    limits: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    is_multi_label: bool = False
    export_folder: str = "./inference"


@dataclass(frozen=True)
class CardResults:
    """The evaluation of the epoch whose weights are the best.

    Attributes:
        epoch: its number, from 1.
        recall: of each class, NaN without images; None if it was not counted.
        confusion: counts of labels x predictions; None if they were not counted.
    """

    epoch: int
    metrics: Mapping[str, float]
    recall: np.ndarray | None = None
    confusion: np.ndarray | None = None
    is_averaged: bool = False


ReadCounts = Callable[[bool], tuple[np.ndarray | None, np.ndarray | None]]


class ModelCard(Callback):
    """Writes the model card at the end of a run.

    Args:
        folder: folder of the run.
        facts: what is known before the training.
        history: returns the entries of `history.jsonl`, also those from before the run was resumed.
        read_counts: returns recall and confusion of the last evaluation: of the averaged weights if its argument is
            True, else of the trained weights.
    """

    def __init__(
        self,
        folder: Path,
        facts: CardFacts,
        history: Callable[[], Sequence[Mapping[str, object]]],
        read_counts: ReadCounts = lambda averaged: (None, None),
    ) -> None:
        self.path = folder / MODEL_CARD
        self.facts, self.history, self.read_counts = facts, history, read_counts
        self.best: CardResults | None = None

    def on_epoch_end(self, report: EpochReport) -> None:
        if report.is_best:
            recall, confusion = self.read_counts(report.averaged) if report.evaluation else (None, None)
            metrics = report.evaluation or report.train
            self.best = CardResults(report.epoch + 1, dict(metrics), recall, confusion, report.averaged)

    def on_train_end(self, summary: Summary) -> None:
        results = self.best
        if results is None and summary.best_epoch is not None:  # the best epoch was trained before the run was resumed
            results = self._of_history(summary.best_epoch + 1, averaged=summary.averaged)
        write_lines(self.path, render_model_card(self.facts, results, self.path.parent, epochs=summary.epochs))

    def _of_history(self, epoch: int, *, averaged: bool) -> CardResults | None:
        entry = next((entry for entry in self.history() if entry.get("epoch") == epoch), None)
        metrics = (entry.get("eval") or entry.get("train")) if entry else None
        return CardResults(epoch, metrics, is_averaged=averaged) if isinstance(metrics, Mapping) else None


def escape(text: object) -> str:
    """Return text on one line of at most `MAX_NAME` characters, in which no character formats Markdown or HTML."""
    line = one_line(text)
    line = line if len(line) <= MAX_NAME else f"{line[: MAX_NAME - 3]}..."
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(
        lambda found: f"\\{found[1]}" if found[1] else found[0].replace(":", "&#58;").replace(".", "&#46;"), line
    )


def render_model_card(facts: CardFacts, results: CardResults | None, folder: Path, *, epochs: int) -> str:
    """Return the Markdown text of a model card.

    Args:
        results: None if the network was not evaluated.
        folder: the folder of the run, for the commands.
        epochs: number of trained epochs.
    """
    parts = [
        _introduction(facts, results),
        _data(facts),
        _training(facts, epochs),
        _metrics(facts, results),
        _limits(facts, results),
        _usage(facts, results, folder),
        _versions(facts),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _introduction(facts: CardFacts, results: CardResults | None) -> str:
    channels, height, width = facts.image_shape
    kind = "gray images" if channels == 1 else "RGB images" if channels == 3 else f"images of {channels} channels"
    count = count_text(len(facts.classes), "class")
    task = f"predicts which of {count} apply" if facts.is_multi_label else f"predicts one of {count}"
    lines = [
        f"# {escape(facts.architecture)}",
        "",
        f"An image classifier: it {task}. Its input is {kind} of {height} x {width} pixels"
        f" (height x width). It has {facts.parameters:,} parameters.",
    ]
    if results is not None:
        averaged = ", averaged over the training steps" if results.is_averaged else ""
        lines.append(f"`best_model.pdparams` has the weights of epoch {results.epoch}{averaged}.")
    return "\n".join(lines)


def _data(facts: CardFacts) -> str:
    unit = "labels" if facts.is_multi_label else "images"
    lines = ["## Data", ""]
    lines += [f"- Training: {_describe(facts.train, unit)}"]
    if facts.evaluation is None:
        lines += ["- Evaluation: none."]
    else:
        lines += [f"- Evaluation: {_describe(facts.evaluation, unit)}"]
    shown = [escape(name) for name in facts.classes[:MAX_CLASSES]]
    more = len(facts.classes) - len(shown)
    lines += [f"- Classes: {', '.join(shown)}{f', and {more} more in `labels.txt`' if more else ''}."]
    return "\n".join(lines)


def _describe(data: CardData, unit: str) -> str:
    text = f"{count_text(data.images, 'image')} from {escape(data.source)}"
    counts = list(data.per_class)
    if not counts:
        return f"{text}."
    low, high = min(counts), max(counts)
    return f"{text}; {low} {unit} in each class." if low == high else f"{text}; {low} to {high} {unit} per class."


def _training(facts: CardFacts, epochs: int) -> str:
    lines = ["## Training", "", f"Trained for {count_text(epochs, 'epoch')}, starting from {escape(facts.start)}.", ""]
    lines += [f"- {name}: {escape(value)}" for name, value in facts.recipe]
    return "\n".join([*lines, "", "`config.yaml` has all settings."])


def _metrics(facts: CardFacts, results: CardResults | None) -> str:
    if results is None:
        return "## Metrics\n\nThe network was not evaluated."
    on = "evaluation data" if facts.evaluation else "training data, since there is no evaluation data"
    lines = ["## Metrics", "", f"On the {on}, after epoch {results.epoch}:", "", "| Metric | Value |", "| --- | --- |"]
    lines += [f"| {escape(name)} | {_number(value)} |" for name, value in results.metrics.items()]
    return "\n".join([*lines, "", *_class_table(facts, results)])


def _class_table(facts: CardFacts, results: CardResults) -> list[str]:
    recall, confusion = results.recall, results.confusion
    if recall is None:
        return ["The metrics of each class were not recorded; `ppzoo report` computes them."]
    order = [int(index) for index in np.argsort(recall, kind="stable") if not math.isnan(recall[index])]
    shown = order[:MAX_CLASSES]
    title = "Recall is the fraction of a class's images that are predicted as this class."
    if len(order) > len(shown):
        title += f" These are the {len(shown)} classes of lowest recall, of {len(order)}."
    counts = facts.evaluation.per_class if facts.evaluation else ()
    precision = _precision(confusion)
    rows = [
        f"| {escape(_name(facts, index))} | {_number(recall[index])} | {_number(precision(index))}"
        f" | {counts[index] if index < len(counts) else ''} |"
        for index in shown
    ]
    return [title, "", "| Class | Recall | Precision | Images |", "| --- | --- | --- | --- |", *rows]


def _precision(confusion: np.ndarray | None) -> Callable[[int], float]:
    """Return the function from a class to the fraction of its predictions that are right; NaN if it is unknown."""

    def of_class(index: int) -> float:
        predicted = 0 if confusion is None else int(confusion[:, index].sum())
        return float(confusion[index, index] / predicted) if confusion is not None and predicted else math.nan

    return of_class


def _limits(facts: CardFacts, results: CardResults | None) -> str:
    sentences = [*facts.limits, *_confusions(facts, results), *_unseen_classes(facts, results)]
    return "\n".join(["## Limits", "", *(f"- {sentence}" for sentence in sentences)])


def _confusions(facts: CardFacts, results: CardResults | None) -> list[str]:
    """Return the sentence about the pairs of classes that are confused most often."""
    if results is None or results.confusion is None:
        return []
    wrong = results.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = [(int(code) // len(wrong), int(code) % len(wrong)) for code in order if wrong.flat[code]]
    if not pairs:
        return ["No image of the evaluation data was predicted as a wrong class."]
    texts = [
        f"{escape(_name(facts, label))} predicted as {escape(_name(facts, other))} ({wrong[label, other]} of"
        f" {results.confusion[label].sum()})"
        for label, other in pairs
    ]
    return [f"Most frequent mistakes: {'; '.join(texts)}."]


def _unseen_classes(facts: CardFacts, results: CardResults | None) -> list[str]:
    if results is None or results.recall is None:
        return []
    missing = [_name(facts, index) for index in range(len(results.recall)) if math.isnan(results.recall[index])]
    if not missing:
        return []
    shown = ", ".join(escape(name) for name in missing[:MAX_PAIRS])
    more = f" and {len(missing) - MAX_PAIRS} more" if len(missing) > MAX_PAIRS else ""
    return [f"Not evaluated, since the evaluation data has no images of them: {shown}{more}."]


def _usage(facts: CardFacts, results: CardResults | None, folder: Path) -> str:
    weights = "best_model" if results is not None else "latest"
    run, export = _plain_path(folder.as_posix(), "RUN_FOLDER"), _plain_path(facts.export_folder, "EXPORT_FOLDER")
    return f"""## Use

`{run}` is this folder, as seen from where the training was started.

    ppzoo infer {run} photo.jpg
    ppzoo eval {run}
    ppzoo export {run}

In Python, with the folder that `ppzoo export` wrote:

    import ppzoo

    predictor = ppzoo.Predictor("{export}")
    predictor.predict("photo.jpg")

`{weights}.pdparams` has the weights alone: `ppzoo.load_weights(network, "{weights}.pdparams")`."""


def _plain_path(text: str, placeholder: str) -> str:
    """Return a path that can be pasted into a shell and into Python; `placeholder` for a name with other characters."""
    return text if re.fullmatch(r"[\w./-]+", text) and not text.startswith("-") else placeholder


def _versions(facts: CardFacts) -> str:
    return "\n".join(["## Versions", "", *(f"- {name} {escape(text)}" for name, text in facts.versions.items())])


def _name(facts: CardFacts, index: int) -> str:
    return facts.classes[index] if index < len(facts.classes) else str(index)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) and math.isfinite(value) else "-"
