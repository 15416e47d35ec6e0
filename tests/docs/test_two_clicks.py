"""Forty questions from PaddleClas's issue tracker: two clicks lead from the front page to the section that solves it.

A click follows a link in the text of a page, a tab of the site (a page, or the first page of a section), or an entry of
the table of contents of the current page. The search and the list of pages at the side are not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRONT = "index"
MAX_CLICKS = 2
CODE_BLOCK = re.compile(r"^```.*?^```$", re.M | re.S)  # its comments are no headings
CHINESE_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')


@dataclass(frozen=True)
class Question:
    """A question in an issue of PaddlePaddle/PaddleClas, the section that solves it, and words of the solution."""

    issue: int
    text: str
    page: str
    anchor: str
    solution: str


QUESTIONS = [
    Question(2189, "class weights for unbalanced data", "training", "class-weights", "class_weights: balanced"),
    Question(1236, "several labels per image", "configurations", "multi-label-classification", "MultiLabelLoss"),
    Question(2608, "a tool that splits a dataset", "custom_data", "list-files", "ppzoo data split"),
    Question(2778, "training with gray images", "custom_data", "gray-images", "channels: 1"),
    Question(2716, "how to resume a training", "faq", "how-do-i-resume-or-train-further", "--resume auto"),
    Question(
        999,
        "bus error in a worker of the data loader",
        "faq",
        "bus-error-or-the-data-loader-reports-too-little-shared-memory-docker",
        "/dev/shm",
    ),
    Question(2749, "out of memory with two GPUs", "faq", "out-of-memory", "sampler.batch_size"),
    Question(1109, "the loss is nan", "faq", "the-loss-is-nan", "ppzoo lr-find"),
    Question(
        2077,
        "the export predicts something else than infer.py",
        "faq",
        "the-export-predicts-something-else-than-the-training-did",
        "ppzoo export",
    ),
    Question(
        2787,
        "accuracy of each class",
        "faq",
        "how-do-i-see-the-accuracy-of-each-class-and-the-confusion-matrix",
        "ppzoo report",
    ),
    Question(
        998,
        "predictions with the names of other classes",
        "faq",
        "how-do-i-get-class-names-instead-of-numbers",
        "class_id_map_file",
    ),
    Question(1788, "predictions of a folder in a file", "faq", "how-do-i-predict-a-folder", "--output results.csv"),
    Question(
        1524, "images that are not square", "faq", "how-do-i-train-with-images-that-are-not-square", "size: [96, 32]"
    ),
    Question(
        2174,
        "several labels: ONNX and infer.py differ",
        "faq",
        "my-own-program-with-the-onnx-model-predicts-something-else",
        "sigmoid",
    ),
    Question(
        3322,
        "ONNX always predicts the same",
        "faq",
        "my-own-program-with-the-onnx-model-predicts-something-else",
        "COLOR_BGR2RGB",
    ),
    Question(
        3374,
        "inference.json instead of inference.pdmodel",
        "faq",
        "the-export-has-inferencejson-but-no-inferencepdmodel",
        "--legacy",
    ),
    Question(1808, "images of no class", "faq", "some-images-belong-to-none-of-my-classes", "ppzoo report"),
    Question(
        1438,
        "weights without a classifier",
        "faq",
        "my-weights-have-no-classifier-fcweight-is-missing",
        'skip=["fc.*"]',
    ),
    Question(747, "outputs of inner layers", "faq", "how-do-i-get-feature-vectors", "features_only=True"),
    Question(
        540,
        "several GPUs",
        "faq",
        "how-do-i-use-several-gpus-and-which-learning-rate",
        "paddle.distributed.launch --devices 0,1",
    ),
    Question(
        3306,
        "weights that were downloaded by hand",
        "faq",
        "the-official-weights-cannot-be-downloaded",
        "-o Arch.pretrained=PPLCNet_x1_0_pretrained.pdparams",
    ),
    Question(
        2532,
        "learning rate and batch size on a single GPU",
        "faq",
        "which-learning-rate-for-another-batch-size-or-another-number-of-gpus",
        "Optimizer.lr.reference_batch=256",
    ),
    Question(1935, "freezing layers", "training", "freezing-layers", "Arch.freeze="),
    Question(
        734,
        "a further class",
        "faq",
        "how-do-i-add-a-class-to-a-trained-network",
        "-o Arch.pretrained=output/X/best_model",
    ),
    Question(1890, "FLOPs and parameters", "faq", "how-many-parameters-and-flops-does-a-network-have", "--summary"),
    Question(
        2556,
        "rotated images",
        "faq",
        "how-do-i-rotate-images-in-training-or-use-them-without-cropping",
        "RandomRotation: {degrees: 30}",
    ),
    Question(
        2210,
        "several labels: predictions without names",
        "configurations",
        "multi-label-classification",
        "Global.class_names: [cat, dog, fox]",
    ),
    Question(2088, "focal loss", "faq", "some-classes-have-far-fewer-images", "FocalLoss"),
    Question(2272, "another teacher", "training", "distillation", "pretrained: output/ResNet50_vd/best_model"),
    Question(1768, "VisualDL shows nothing", "logging", "settings", "ppzoo board"),
    Question(
        3386, "prediction in C++", "faq", "how-do-i-predict-in-c-or-another-language", "--format onnx --format openvino"
    ),
    Question(134, "Windows", "versions", "windows-and-macos", "filelock"),
    Question(2260, "low utilization of the GPU", "faq", "training-is-slow", "loader.num_workers"),
    Question(2394, "a dataset of PaddleX", "faq", "can-i-use-a-dataset-of-paddlex", "labels.txt > label_list.txt"),
    Question(122, "mixed precision", "training", "mixed-precision", "use_amp: True"),
    Question(1146, "ONNX with any batch size", "deployment", "formats", "--opset"),
    Question(519, "conversion for Paddle Lite", "serving", "phones", "paddle_lite_opt"),
    Question(3084, "quantization", "deployment", "precision", "--precision int8"),
    Question(
        3065,
        "overfitting, and the number of epochs",
        "faq",
        "when-does-the-training-end-and-which-checkpoint-is-the-best",
        "Global.early_stopping",
    ),
    Question(1319, "prediction in several threads", "faq", "can-several-threads-use-one-predictor", "ppzoo serve"),
]


def read(page: str, language: str) -> str:
    """Return the Markdown of a page; pages that exist in English only are shown in both languages."""
    translated = DOCS / f"{page}.zh.md"
    file = translated if language == "zh" and translated.exists() else DOCS / f"{page}.md"
    return re.sub(CODE_BLOCK, lambda block: block[0].replace("\n#", "\n #"), file.read_text(encoding="utf-8"))


def sections(page: str, language: str) -> dict[str, str]:
    """Return the text of each section by its anchor."""
    found, anchor = {}, ""
    for part in re.split(r"^(?=#+ |<a id=)", read(page, language), flags=re.M):
        explicit = CHINESE_ANCHOR.match(part)
        if explicit:
            anchor = explicit[1]
        elif language == "en" and (title := re.match(r"#+ (.*)", part)):
            anchor = re.sub(r"[ -]+", "-", re.sub(r"[^\w\- ]", "", title[1].lower()))
        found[anchor] = found.get(anchor, "") + part
    return found


def links(page: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield the page and the anchor that each link of a page leads to, including its table of contents."""
    for target, anchor in re.findall(r"\]\((\w*)(?:\.md)?(?:#([\w-]+))?\)", read(page, language)):
        yield target or page, anchor
    for anchor in sections(page, language):
        yield page, anchor


def tabs() -> Iterator[str]:
    """Yield the page that each tab of the site opens."""
    for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]:
        value = next(iter(entry.values()))
        while not isinstance(value, str):
            value = next(iter(value[0].values())) if isinstance(value[0], dict) else value[0]
        yield value.removesuffix(".md")


def reachable(language: str) -> dict[tuple[str, str], int]:
    """Return the number of clicks from the front page to each page and section."""
    clicks = {(FRONT, ""): 0}
    for count in range(1, MAX_CLICKS + 1):
        pages = {page for page, _ in clicks if (DOCS / f"{page}.md").exists()}
        found = {link for page in pages for link in links(page, language)} | {(page, "") for page in tabs()}
        clicks |= {link: count for link in sorted(found) if link not in clicks}
    return clicks


@pytest.fixture(scope="module", params=["en", "zh"])
def language(request):
    return request.param


@pytest.fixture(scope="module")
def clicks(language):
    return reachable(language)


def test_there_are_forty_questions():
    assert len({question.issue for question in QUESTIONS}) == 40


@pytest.mark.parametrize("question", QUESTIONS, ids=[question.text for question in QUESTIONS])
def test_two_clicks_lead_to_the_solution(question, language, clicks):
    assert question.solution in sections(question.page, language)[question.anchor]
    assert (question.page, question.anchor) in clicks


def test_farther_sections_are_not_reached(clicks):
    """The limit excludes something, so that the test above can fail."""
    everything = {(path.stem, anchor) for path in DOCS.glob("*.md") for anchor in sections(path.stem, "en")}
    assert everything - set(clicks)
    assert not [target for target, count in clicks.items() if count > MAX_CLICKS]
