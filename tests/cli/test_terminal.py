"""A person at a terminal sees a run, programs read it as JSON, and the terminal stays usable."""

import json
import re
import signal
from pathlib import Path

import pytest
import yaml
from helpers.small_runs import paint_class_folders, small_config
from helpers.terminals import run_on_terminal

CLASSES = ["[red]", "green", "猫"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration of a run of three epochs, with class names that look like markup."""
    folder = tmp_path_factory.mktemp("terminal")
    paint_class_folders(folder / "images", CLASSES, count=8)
    settings = small_config(folder, "LeNet")
    settings["Global"] |= {"epochs": 3, "use_visualdl": False, "print_batch_step": 2}
    settings["Arch"]["class_num"] = len(CLASSES)
    settings["Metric"]["Train"] = settings["Metric"]["Eval"]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


def ppzoo(*arguments, **options):
    """Run a command that draws every change, which short runs need."""
    code = "from ppzoo import terminal; terminal.MIN_SECONDS = 0; from ppzoo.cli import console; console()"
    return run_on_terminal(["-c", code, *map(str, arguments)], **options)


@pytest.fixture(scope="module")
def run(config):
    """The session of a training run, and its folder."""
    return ppzoo("train", "-c", config, columns=120), config.parent / "output" / "LeNet"


def test_a_run_ends_with_its_table_a_chart_and_the_paths(run):
    session, folder = run
    assert session.status == 0 and session.has_cursor
    text = "\n".join(session.lines)
    rows = re.findall(r"^  (\d)/3 +\d\.\d{4} .* \d:\d\d(?:  best)?$", text, re.MULTILINE)
    assert rows == ["1", "2", "3"] and text.count("best\n") == 1
    assert text.count("epoch  train loss  train top1  eval loss  eval top1") == 1
    assert "eval top1 by epoch" in text and "▁" in text
    assert re.search(r"^trained 3 epochs in 0:\d\d; best top1 \d\.\d{4} in epoch \d$", text, re.MULTILINE)
    for name in ("best_model.pdparams", "train.log", "curves.png", "config.yaml"):
        assert str(folder / name) in text.replace("\n", "")
    assert "images/s  left" not in text  # the bar is gone


def test_a_run_draws_its_progress_and_logs_it(run):
    session, folder = run
    assert "evaluating" in session.raw and "verifying images" in session.raw
    frames = session.raw.split("\r\x1b[2K")
    assert any(" left" in frame and "loss" in frame and "lr 0.0001" in frame for frame in frames)
    log = (folder / "train.log").read_text(encoding="utf-8")
    assert "epoch 3/3  step 6/6  loss" in log and "epoch 2/3  train: loss" in log and "eval top1 by epoch" in log
    assert "\x1b" not in log


def test_names_that_look_like_markup_are_shown_as_they_are(run):
    session, folder = run
    (line,) = [line for line in session.lines if line.startswith("weakest classes")]
    assert re.search(r"by recall: (\[red\]|green|猫) \d\.\d\d", line)
    found = ppzoo("infer", folder, folder.parent.parent / "images", stdout_is_terminal=False)
    assert found.status == 0 and "predicting" in found.raw and found.has_cursor
    assert len(found.stdout.splitlines()) == 24 and "/[red]/0.png: " in found.stdout
    assert not any("predicting" in line for line in found.lines)


def test_an_interrupted_run_keeps_its_table_and_the_cursor(config):
    session = ppzoo(
        *("train", "-c", config, "-o", "Global.epochs=1000", "-o", f"Global.output_dir={config.parent / 'stopped'}"),
        at=lambda raw: signal.SIGINT if " 2/1000" in raw and "epoch 3/1000" in raw else None,
    )
    assert session.status == 130 and session.has_cursor
    text = "\n".join(session.lines)
    assert "2/1000" in text and text.endswith("stopped by SIGINT; resume with --resume auto\n")


def test_quiet_prints_the_result_only(config):
    output = f"Global.output_dir={config.parent / 'quiet'}"
    session = ppzoo("train", "-c", config, "--quiet", "-o", output)
    assert re.fullmatch(r"trained 3 epochs in \d:\d\d; best top1 \d\.\d{4} in epoch \d\r\n", session.raw)
    assert "epoch 3/3  step 6/6" in (config.parent / "quiet" / "LeNet" / "train.log").read_text(encoding="utf-8")


def test_the_commands_with_quiet_are_documented():
    docs = Path(__file__).parents[2] / "docs"
    sections = re.split(r"^## ppzoo ", (docs / "reference_commands.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    quiet = {section.partition("\n")[0] for section in sections if "- `--quiet`" in section}
    (sentence,) = re.findall(r"These commands have it: ([^.]*)\.", (docs / "terminal.md").read_text(encoding="utf-8"))
    assert set(re.findall(r"`([a-z -]+)`", sentence.replace("\n", " "))) == quiet


def documented_keys():
    """Return the keys of each event in the table of docs/terminal.md."""
    text = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", text, re.MULTILINE)
    # What is in parentheses describes a key.
    return {event: set(re.findall(r"`(\w+)`", re.sub(r"\([^()]*\)", "", keys))) for event, keys in rows}


def test_programs_read_a_run_as_json_lines(config):
    session = ppzoo(
        "train", "-c", config, "--json", "-o", f"Global.output_dir={config.parent / 'json'}", stdout_is_terminal=False
    )
    events = [json.loads(line, parse_constant=pytest.fail) for line in session.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", *["step", "step", "step", "epoch"] * 3, "end"]
    documented = documented_keys()
    assert all(set(event) - {"event"} == documented[event["event"]] for event in events)
    best = max(event["eval"]["top1"] for event in events if event["event"] == "epoch")
    assert events[-1]["best"] == best and events[-1]["main"] == "top1"
    for name in ("weights", "log", "curves", "config"):
        assert Path(events[-1][name]).is_file()
    assert "trained 3 epochs" in session.raw
    assert "What to do next" not in session.raw + session.stdout


def test_a_run_that_cannot_start_is_an_error_event(config):
    session = ppzoo("train", "-c", config, "--json", "-o", "Arch.name=LeNett", stdout_is_terminal=False)
    (event,) = map(json.loads, session.stdout.splitlines())
    assert event["event"] == "error" and "LeNet" in event["message"]
    assert session.status == event["exit_status"] == 2
    assert session.lines[0].startswith("error: ")


def test_eval_prints_the_metrics_as_json(run):
    folder = run[1]
    session = ppzoo("eval", folder, "--json", stdout_is_terminal=False)
    metrics = json.loads(session.stdout)
    history = [json.loads(line)["eval"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert metrics in history
    quiet = ppzoo("eval", folder, "--quiet")
    assert quiet.raw == f"loss {metrics['loss']:.4f}  top1 {metrics['top1']:.4f}\r\n"


def test_the_data_check_and_the_export_show_their_progress(run, config):
    session = ppzoo("data", "check", config)
    assert "checking DataLoader.Train" in session.raw and session.has_cursor
    assert session.lines[0].startswith("DataLoader.Train: 24 images")
    session = ppzoo("export", run[1])
    assert "exporting" in session.raw and session.status == 0 and session.has_cursor
    assert not any(line.startswith("exporting") for line in session.lines)
    for command in (("data", "check", config), ("export", run[1])):
        assert "\x1b" not in ppzoo(*command, "--quiet").raw


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("lr-find", "-c", "CONFIG", "--steps", "20", "--output", "OUTPUT"), "finding a learning rate"),
        (("profile", "-c", "CONFIG", "--steps", "1", "--output", "OUTPUT"), "profiling"),
        (("explain", "RUN", "IMAGES", "--output", "OUTPUT"), "explaining"),
        (("embed", "RUN", "IMAGES", "--output", "OUTPUT/features.npz"), "computing features"),
    ],
)
def test_short_trainings_and_explanations_show_their_progress(run, config, tmp_path, command, shown):
    places = {"CONFIG": config, "RUN": run[1], "IMAGES": config.parent / "images", "OUTPUT": tmp_path}
    words = [str(places.get(word, word)).replace("OUTPUT", str(tmp_path)) for word in command]
    session = ppzoo(*words, stdout_is_terminal=False)
    assert session.status in (0, 1) and session.has_cursor  # 1: no learning rate is suggested after so few steps
    frames = session.raw.split("\r\x1b[2K")
    assert any(shown in frame and " left" in frame for frame in frames)
    assert not any(shown in line for line in session.lines)
    assert session.stdout and "\x1b" not in session.stdout
