"""Accuracy of the recipes for the included data, with several seeds: the table of docs/results.md and results.zh.md.

    python benchmarks/results.py                                  # all recipes, seeds 1, 2, 3; writes both pages
    python benchmarks/results.py --recipes lenet --seeds 1 --epochs 1    # a short check: prints the table only

Each run is recorded in `runs.jsonl` in the folder --work as soon as it is finished. If started again, the program skips
the recorded runs and resumes an interrupted one. Runs with another number of epochs or another version of the code are
not used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from comparison import add_record, read_records

import ppzoo
from ppzoo.config import load
from ppzoo.files import write_text
from ppzoo.host import processor_name, usable_cores

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"en": ROOT / "docs" / "results.md", "zh": ROOT / "docs" / "results.zh.md"}
HEADERS = {
    "en": "| Recipe | Network | Epochs | Top-1 (mean ± standard deviation) | Lowest | Highest | Seeds | Seconds |",
    "zh": "| 训练配置 | 网络 | 轮数 | Top-1（均值 ± 标准差） | 最低 | 最高 | 随机种子 | 秒 |",
}
MEASURED = {
    "en": "Measured on {date:%d %B %Y}: {processor}, {cores} cores, {versions} (digest of its code: {code}).",
    "zh": "测试于 {date:%Y-%m-%d}：{processor}，{cores} 核，{versions}（代码摘要 {code}）。",
}
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
RECORDS = "runs.jsonl"
TEACHER = "mobilenet_v2_x0_5"  # trained before the recipe that distills it
RECIPES = (
    "lenet",
    "mobilenet_v1_x0_25",
    "mobilenet_v2_x0_5",
    "mobilenet_v3_small_x0_35",
    "shufflenet_v2_x0_25",
    "resnet18_cifar",
    "distillation",
)
METRIC = "top1"


class Run(NamedTuple):
    """One training.

    Attributes:
        version: digest of ppzoo's source code, see `digest_code`.
    """

    recipe: str
    seed: int
    epochs: int
    version: str


def main() -> None:
    options = parse_options()
    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    version = digest_code()
    runs = [
        Run(recipe, seed, options.epochs or load(recipe)["Global"]["epochs"], version)
        for recipe in order_recipes(options.recipes)
        for seed in options.seeds
    ]
    for run in runs:
        if run in read_records(work / RECORDS, Run):
            print(f"{run.recipe}, seed {run.seed}: already measured")
            continue
        add_record(work / RECORDS, run, train(run, work))
    records = read_records(work / RECORDS, Run)
    chosen = {run: records[run] for run in runs if run.recipe in options.recipes}
    print(make_table(chosen, "en"))
    if options.epochs is None and set(options.recipes) == set(RECIPES):
        for language, page in PAGES.items():
            write_page(page, make_table(chosen, language))
            print(f"wrote {page}")
    else:
        print("the pages are unchanged: they are only written for all recipes, without --epochs")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, help="for a short check: replaces the number of epochs of each recipe")
    parser.add_argument("--work", default="output/results", metavar="FOLDER", help="folder for the runs and runs.jsonl")
    return parser.parse_args()


def order_recipes(recipes: Sequence[str]) -> list[str]:
    """Return the recipes in the order of training: before the distillation its teacher, even if it is not requested."""
    needed = {*recipes, *([TEACHER] if "distillation" in recipes else [])}
    return [recipe for recipe in RECIPES if recipe in needed]


def digest_code() -> str:
    """Return a digest of ppzoo's source code and configurations."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "ppzoo").rglob("*")):
        if file.suffix in {".py", ".yaml", ".cc", ".h"}:
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def run_folder(run: Run, work: Path) -> Path:
    """Return the output folder of a run; runs of another version are in other folders."""
    return work / run.version / f"{run.recipe}-{run.epochs}-epochs-seed-{run.seed}"


def train(run: Run, work: Path) -> dict[str, Any]:
    """Train a recipe, or resume its training, and return what is recorded."""
    folder = run_folder(run, work)
    overrides = {
        "Global.seed": run.seed,
        "Global.epochs": run.epochs,
        "Global.output_dir": folder,
        "Global.use_visualdl": False,
        "Global.save_interval": 1,
        "Global.keep": 1,
    }
    if run.recipe == "distillation":
        teacher = run_of_teacher(run, work)
        overrides["Arch.models.0.Teacher.pretrained"] = find_run(run_folder(teacher, work)) / "best_model"
    command = [sys.executable, "-c", "from ppzoo.cli import console; console()", "train", "-c", run.recipe]
    command += [word for key, value in overrides.items() for word in ("-o", f"{key}={value}")]
    print(f"training {run.recipe}, seed {run.seed}", flush=True)
    done = subprocess.run([*command, "--resume", "auto", "--quiet"], cwd=os.getcwd())
    if done.returncode:
        sys.exit(done.returncode)
    return read_result(find_run(folder))


def run_of_teacher(run: Run, work: Path) -> Run:
    """Return the teacher's run with the same seed and version of the code, the longest one if there are several."""
    same = [
        one
        for one in read_records(work / RECORDS, Run)
        if one.recipe == TEACHER and one[1::2] == (run.seed, run.version)
    ]
    if not same:
        sys.exit(f"{run.recipe}, seed {run.seed}: found no run of {TEACHER}; measure it first")
    return max(same, key=lambda one: one.epochs)


def find_run(folder: Path) -> Path:
    """Return the folder with the history of the only run in `folder`."""
    (history,) = folder.glob("*/history.jsonl")
    return history.parent


def read_result(folder: Path) -> dict[str, Any]:
    """Return the best accuracy, the duration of all epochs, and the architecture, of a distillation the student's."""
    entries = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    arch = config["Arch"]
    students = [member["Student"]["name"] for member in arch.get("models", []) if "Student" in member]
    return {
        METRIC: max(entry["eval"][METRIC] for entry in entries if entry["eval"]),
        "seconds": sum(entry["train_seconds"] + entry["eval_seconds"] for entry in entries),
        "architecture": students[0] if students else arch["name"],
    }


def make_table(records: dict[Run, dict[str, Any]], language: str) -> str:
    """Return the table of the recipes, and the machine and versions that it was measured with."""
    import paddle  # after ppzoo, which silences PaddlePaddle's warning about ccache

    lines = [HEADERS[language], f"|{' --- |' * (HEADERS[language].count('|') - 1)}"]
    for recipe in dict.fromkeys(run.recipe for run in records):
        entries = [entry for run, entry in records.items() if run.recipe == recipe]
        lines.append(make_row(recipe, entries))
    measured = MEASURED[language].format(
        date=date.today(),
        processor=processor_name().rpartition(":")[2].strip() or "unknown processor",
        cores=usable_cores(),
        versions=f"Python {platform.python_version()}, PaddlePaddle {paddle.__version__}, ppzoo {ppzoo.__version__}",
        code=next(iter(records)).version,
    )
    return "\n".join([*lines, "", measured])


def make_row(recipe: str, entries: Sequence[dict[str, Any]]) -> str:
    values = [entry[METRIC] for entry in entries]
    spread = (
        f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"
    )
    seconds = statistics.median(entry["seconds"] for entry in entries)
    seeds = ", ".join(str(entry["seed"]) for entry in entries)
    first = entries[0]
    cells = [f"`{recipe}`", first["architecture"], first["epochs"], spread, f"{min(values):.4f}", f"{max(values):.4f}"]
    return f"| {' | '.join(map(str, [*cells, seeds, f'{seconds:.0f}']))} |"


def write_page(page: Path, table: str) -> None:
    """Replace the table in the page, between two comments."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{page}: expected one line {BEGIN!r} and one line {END!r}")
    before, _, rest = text.partition(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
