"""Several processes of PaddlePaddle's launcher: results equal those of one process, and if one fails, all end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.quick import override_options
from PIL import Image

from ppzoo.engine import latest_checkpoint
from ppzoo.weights import read_pdparams

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
OPS = [{"DecodeImage": {}}, {"RandFlipImage": {"flip_code": 1}}, NORMALIZE]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with 1,003 small images in two classes, and a configuration for 37 of them."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(1003):
        pixels = random.integers(0, 120, (8, 8, 3)) + 100 * (number % 2)
        Image.fromarray(pixels.astype("uint8")).save(folder / "images" / f"{number}.png")
    for name, count in (("train", 37), ("all", 1003)):
        (folder / f"{name}.txt").write_text("".join(f"{number}.png {number % 2}\n" for number in range(count)))

    def split(name, batch_size, shuffle):
        files = {"image_root": str(folder / "images"), "cls_label_path": str(folder / f"{name}.txt")}
        sampler = {"name": "DistributedBatchSampler", "batch_size": batch_size, "shuffle": shuffle}
        return {"dataset": {"name": "ImageNetDataset", **files, "transform_ops": OPS}, "sampler": sampler}

    config = {
        "Global": {"device": "cpu", "epochs": 4, "seed": 1, "output_dir": "output", "print_batch_step": 1},
        "Arch": {"name": "MobileNetV1_x0_25", "class_num": 2},
        "Loss": {"Train": [{"CELoss": {}}], "Eval": [{"CELoss": {}}]},
        "Optimizer": {"name": "Momentum", "lr": {"name": "Cosine", "learning_rate": 0.01}},
        "DataLoader": {"Train": split("train", 8, True), "Eval": split("train", 16, False)},
        "Metric": {
            "Train": [{"TopkAcc": {"topk": [1]}}],
            "Eval": [{"TopkAcc": {"topk": [1]}}, {"AveragePrecision": {}}, {"ExpectedCalibrationError": {}}],
        },
    }
    config["DataLoader"]["Eval"]["dataset"]["transform_ops"] = [{"DecodeImage": {}}, NORMALIZE]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def children(process):
    return map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())


class Launched:
    """A command that is or starts the launcher."""

    def __init__(self, folder, command):
        self.folder = folder
        keep = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        self.process = subprocess.Popen(
            command,
            env={**keep, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def text(self, rank):
        log = self.folder / "log" / f"workerlog.{rank}"
        return log.read_text() if log.exists() else ""

    def wait_for(self, text):
        for _ in range(600):
            if text in self.text(0):
                return
            time.sleep(0.1)
        pytest.fail(f"{text!r} was not logged: {self.text(0)}")

    def pid(self, rank):
        """Return the process id of a rank."""
        launchers = [self.process.pid, *children(self.process.pid)]
        for child in (child for launcher in launchers for child in children(launcher)):
            if f"PADDLE_TRAINER_ID={rank}\0" in Path(f"/proc/{child}/environ").read_text():
                return child
        raise AssertionError(f"no process {rank}")

    def end(self):
        return self.process.wait(timeout=90)


def launch(workspace, folder, count, program, *arguments):
    """Start the launcher with `count` processes of a program."""
    options = ["--nproc_per_node", str(count), "--log_dir", str(folder / "log")]
    launcher = [sys.executable, "-W", "ignore", "-m", "paddle.distributed.launch", *options]
    return Launched(folder, [*launcher, str(program), "-c", str(workspace / "config.yaml"), *arguments])


def train(workspace, folder, *arguments):
    folder.mkdir(exist_ok=True)
    return launch(workspace, folder, 2, ROOT / "tools" / "train.py", *arguments)


@pytest.fixture(scope="module")
def reference(workspace, tmp_path_factory):
    """The folder of an undisturbed run of two processes."""
    folder = tmp_path_factory.mktemp("reference")
    run = train(workspace, folder)
    assert run.end() == 0, run.text(0)
    assert run.text(1) == ""
    return folder / "output" / "MobileNetV1_x0_25"


def outcome(folder):
    """Return the metrics and the weights of a run."""
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [(line["epoch"], line["train"], line["eval"], line["lr"]) for line in lines], read_pdparams(
        folder / "latest.pdparams"
    )


def assert_same_run(folder, reference):
    metrics, weights = outcome(folder)
    expected, expected_weights = outcome(reference)
    assert metrics == expected
    for name, value in expected_weights.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


EVALUATE = """
import sys
from ppzoo import builders
config = builders.read_config(sys.argv[2], sys.argv[3:], "eval")
with builders.join_processes(config) as processes:
    print({name: value.hex() for name, value in builders.evaluate(config, processes).items()}, flush=True)
"""


def test_evaluation_by_one_two_and_three_processes_is_bit_identical(workspace, reference, tmp_path):
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    results = []
    for count in (1, 2, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        every = f"DataLoader.Eval.dataset.cls_label_path={workspace / 'all.txt'}"
        run = launch(
            workspace, folder, count, tmp_path / "evaluate.py", f"Global.pretrained_model={reference / 'latest'}", every
        )
        assert run.end() == 0, run.text(0)
        results += [run.text(rank).splitlines()[-1] for rank in range(count)]
    assert "AveragePrecision" in results[0]
    assert len(set(results)) == 1


def test_a_signal_to_the_launcher_saves_and_stops_all(workspace, tmp_path):
    run = train(workspace, tmp_path)
    run.wait_for("epoch 2/4  step 1/")
    run.process.terminate()
    run.end()
    for rank in (0, 1):
        assert run.text(rank).splitlines()[-1].startswith("stopped by SIGTERM; ")
    assert latest_checkpoint(tmp_path / "output" / "MobileNetV1_x0_25").name == "latest"


def test_a_signal_to_one_stops_all_after_the_same_step(workspace, reference, tmp_path):
    run = train(workspace, tmp_path, "-o", "Global.log_ranks='0,1'")
    run.wait_for("epoch 2/4  step 1/")
    os.kill(run.pid(1), signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    last = [run.text(rank).splitlines()[-1] for rank in (0, 1)]
    assert all(line.startswith("stopped by SIGTERM; ") for line in last)
    steps = [[line.split("  lr ")[0] for line in run.text(rank).splitlines() if "step" in line] for rank in (0, 1)]
    assert steps[0] == steps[1]

    assert train(workspace, tmp_path, "--resume", "auto").end() == 0
    assert_same_run(tmp_path / "output" / "MobileNetV1_x0_25", reference)


def test_resuming_a_finished_run_changes_nothing(workspace, reference, tmp_path):
    own = tmp_path / "output" / "MobileNetV1_x0_25"
    shutil.copytree(reference, own)
    before = {file: file.read_bytes() for file in own.rglob("*") if file.is_file()}
    run = train(workspace, tmp_path, "--resume", "auto")
    assert run.end() == 0
    assert "latest has already trained 4 of 4 epochs" in run.text(0)
    assert {file: file.read_bytes() for file in own.rglob("*") if file.is_file()} == before


def test_a_broken_evaluation_image_ends_all_before_training(workspace, tmp_path):
    lines = (workspace / "train.txt").read_text().splitlines()
    lines[-2] = "gone.png 0"  # not one of those that are tried out first
    (tmp_path / "list.txt").write_text("\n".join(lines))
    run = train(workspace, tmp_path, "-o", f"DataLoader.Eval.dataset.cls_label_path={tmp_path / 'list.txt'}")
    assert run.end() != 0
    (error,) = [line for line in run.text(0).splitlines() if line.startswith("error: ")]
    assert "DataLoader.Eval: 1 of 37 images cannot be read: " in error and "gone.png" in error
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_all_end_and_the_next_launch_resumes(workspace, reference, tmp_path, victim):
    run = train(workspace, tmp_path, "-o", "Global.save_interval_steps=1")
    run.wait_for("epoch 2/4  step 1/")
    os.kill(run.pid(victim), signal.SIGKILL)
    killed = time.monotonic()
    assert run.end() != 0
    assert time.monotonic() - killed < 30
    (error,) = [line for line in run.text(1 - victim).splitlines() if line.startswith("error:")]
    assert error.startswith(f"error: process {victim} of 2 disappeared (killed, or out of memory?)")
    if victim == 0:
        assert latest_checkpoint(tmp_path / "output" / "MobileNetV1_x0_25").name == "latest"
        return  # only the case in which process 1 was killed is resumed below

    shutil.rmtree(tmp_path / "log")
    again = train(workspace, tmp_path, "--resume", "auto", "-o", "Global.save_interval_steps=1")
    assert again.end() == 0
    assert "resuming from" in again.text(0)
    assert_same_run(tmp_path / "output" / "MobileNetV1_x0_25", reference)


def restart_loop(config):
    """Return the shell loop of docs/distributed.md for a configuration."""
    text = (ROOT / "docs" / "distributed.md").read_text()
    (loop,) = re.findall(r"^    until .*?^    done$", text, re.MULTILINE | re.DOTALL)
    for text_in_docs, replacement in (
        ("python -m", f"{sys.executable} -W ignore -m"),
        ("tools/train.py", f"{ROOT}/tools/train.py"),
        ("-c CONFIG", f"-c {config} -o Global.save_interval_steps=1"),
    ):
        assert loop.count(text_in_docs) == 1
        loop = loop.replace(text_in_docs, replacement)
    return textwrap.dedent(loop)


def test_the_documented_loop_restarts_until_the_run_is_finished(workspace, reference, tmp_path):
    run = Launched(tmp_path, ["bash", "-c", restart_loop(workspace / "config.yaml")])
    run.wait_for("epoch 2/4  step 1/")
    (launcher,) = children(run.process.pid)
    os.kill(run.pid(1), signal.SIGKILL)
    killed = time.monotonic()
    while Path(f"/proc/{launcher}").exists():
        assert time.monotonic() - killed < 30
        time.sleep(0.1)
    assert latest_checkpoint(tmp_path / "output" / "MobileNetV1_x0_25").name == "latest"
    assert run.end() == 0
    assert "resuming from" in (tmp_path / "output" / "MobileNetV1_x0_25" / "train.log").read_text()
    assert_same_run(tmp_path / "output" / "MobileNetV1_x0_25", reference)


def test_an_image_that_one_process_cannot_read_ends_all_with_its_error(workspace, tmp_path):
    broken = tmp_path / "broken.txt"
    broken.write_text("".join(f"{number}.png {number % 2}\n" for number in [*range(8), 5000, *range(9, 16)]))
    data = f"DataLoader.Train.dataset.cls_label_path={broken}"
    order = ["DataLoader.Train.dataset.on_error=raise", "DataLoader.Train.sampler.shuffle=False"]
    run = train(workspace, tmp_path, *override_options(data, *order))
    assert run.end() == 2
    assert "images/5000.png" in run.text(1).splitlines()[-1]
    assert run.text(0).splitlines()[-1] == run.text(1).splitlines()[-1].replace(
        "error: ", "error: process 1 of 2 failed: ", 1
    )


GRADIENTS = """
import numpy as np, paddle
from paddle.nn import functional as F
from ppzoo.engine import init_process_group
from ppzoo.layers import Conv2D, Linear, batch_norm, synchronize_norms

processes = init_process_group()

def network():
    paddle.seed(3)
    with paddle.utils.unique_name.guard():
        first, second = Conv2D(3, 8, 3, padding=1, bias_attr=False), Conv2D(8, 6, 3, padding=1, bias_attr=False)
        norms = batch_norm(8), batch_norm(6)
        return paddle.nn.Sequential(first, norms[0], second, norms[1], paddle.nn.Flatten(), Linear(6 * 64, 5))

random = np.random.default_rng(0)
images, labels = random.standard_normal((32, 3, 8, 8)).astype("float32"), random.integers(0, 5, 32)

def loss(network, rows):
    return F.cross_entropy(network(paddle.to_tensor(images[rows])), paddle.to_tensor(labels[rows]))

one = network()
loss(one, slice(None)).backward()
for cut in (16, 11):
    two = network()
    synchronize_norms(two)
    rows = slice(0, cut) if processes.is_main else slice(cut, 32)
    averager = processes.gradient_averager(two)
    averager.start()
    processes.weigh_loss(loss(two, rows), rows.stop - rows.start, 32).backward()
    averager.finish()
    pairs = [(a, b) for a, b in zip(one.parameters(), two.parameters()) if a.grad is not None]
    print(len(pairs), max(float((a.grad - b.grad).norm() / a.grad.norm()) for a, b in pairs), flush=True)
    states = zip(one.state_dict().values(), two.state_dict().values())
    print("state", max(float((a - b).abs().max()) for a, b in states), flush=True)
"""


def test_synchronized_norms_have_the_gradients_of_one_large_batch(workspace, tmp_path):
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    run = launch(workspace, tmp_path, 2, tmp_path / "gradients.py")
    assert run.end() == 0, run.text(0)
    for rank in (0, 1):
        even, state, uneven, other_state = (float(line.split()[1]) for line in run.text(rank).splitlines()[-4:])
        assert max(even, uneven) < 1e-5
        assert max(state, other_state) < 1e-6


MEANS = """
import numpy as np, paddle
import ppzoo
from ppzoo.engine import init_process_group

processes = init_process_group()
paddle.seed(3)
network = ppzoo.create_model("MobileNetV1_x0_25", class_num=5)
images = paddle.to_tensor(np.random.default_rng(processes.rank).standard_normal((4, 3, 32, 32)), "float32")
means = processes.gradient_averager(network)

def gradients():
    network(images).square().mean().backward()
    return {name: one.grad.numpy() for name, one in network.named_parameters() if one.trainable}

own = processes.all_gather(gradients())
for parameter in network.parameters():
    parameter.clear_gradient(False)
means.start()
gradients()
means.finish()
trained = dict(network.named_parameters())
for name in own[0]:
    expected = np.mean([part[name].astype("float64") for part in own], axis=0)
    error = np.abs(trained[name].grad.numpy() - expected).max() / np.abs(expected).max()
    assert error < 1e-6, (name, error)
print("equal", flush=True)
"""


@pytest.mark.parametrize("count", [2, 3])
def test_the_gradients_of_all_are_averaged_during_the_backward_pass(workspace, tmp_path, count):
    (tmp_path / "means.py").write_text(MEANS)
    run = launch(workspace, tmp_path, count, tmp_path / "means.py")
    assert run.end() == 0, run.text(0)
    for rank in range(count):
        assert run.text(rank).splitlines()[-1] == "equal"


def test_the_first_process_logs_the_evaluation_of_all(workspace, tmp_path):
    from visualdl import LogReader

    run = train(workspace, tmp_path, "-o", "Global.loggers=[visualdl]", "-o", "Global.epochs=2")
    assert run.end() == 0, run.text(0)
    (file,) = (tmp_path / "output" / "MobileNetV1_x0_25" / "vdl").iterdir()
    curves = LogReader(file_path=str(file)).get_data("pr_curve", "epoch/eval/pr_curve/all classes")
    counts = [(curve.id, curve.pr_curve.TP[0], curve.pr_curve.FP[0]) for curve in curves]
    assert counts == [(1, 37, 37), (2, 37, 37)]  # at threshold 0 both classes of each image are predicted
