"""Training steps: ppzoo's native operators beside plain PaddlePaddle, and beside PyTorch in channels-last.

    python benchmarks/train.py                                   # the networks and sizes of docs/performance.md
    python benchmarks/train.py --case MobileNetV2_x0_5:64:64 --pairs 7 --torch /path/to/env/bin/python

Each round runs every contestant once, in turn, in a process of its own with the same environment; a process warms up
and then answers the median time of its steps. The ratios of a round are formed within it, so that a machine that grows
slower between rounds does not favor anybody.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from functools import partial
from typing import Any

import comparison

from ppzoo.native.env_settings import find_missing_settings

# Network, side of the images in pixels, batch size.
CASES = [
    "MobileNetV2_x0_5:224:32",
    "MobileNetV2_x0_5:64:64",
    "MobileNetV2_x0_5:32:64",
    "ResNet18:224:16",
    "MobileNetV1:128:32",
    "MobileNetV3_small_x1_0:128:32",
    "ShuffleNetV2_x0_5:128:32",
    "EfficientNetB0:128:32",
    "DenseNet121:128:32",
    "SE_ResNet18_vd:128:32",
]
WARM_UP = 3
TORCH_NETWORKS = {
    # With round_nearest the widths are PaddleClas's: 12 channels, for example, which torchvision rounds to 16.
    "MobileNetV2_x0_5": ("mobilenet_v2", {"width_mult": 0.5, "round_nearest": 4}),
    "MobileNetV2": ("mobilenet_v2", {}),
    "ResNet18": ("resnet18", {}),
    "ResNet50": ("resnet50", {}),
    "DenseNet121": ("densenet121", {}),
    "EfficientNetB0": ("efficientnet_b0", {}),
    "ShuffleNetV2_x0_5": ("shufflenet_v2_x0_5", {}),
    "MobileNetV3_small_x1_0": ("mobilenet_v3_small", {}),
}


def paddle_step(name: str, size: int, batch: int, mode: str) -> Any:
    """A function that makes one training step."""
    import paddle

    import ppzoo
    from ppzoo import native
    from ppzoo.native.momentum import Momentum

    paddle.set_device("cpu")
    native.set_mode(mode)  # type: ignore[arg-type]
    paddle.seed(0)
    network = ppzoo.create_model(name, class_num=1000)
    network.train()
    kind = Momentum if mode == "on" else paddle.optimizer.Momentum
    optimizer = kind(0.01, parameters=network.parameters(), weight_decay=1e-4)
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 1000, [batch])

    def step() -> float:
        output = network(images)
        loss = paddle.nn.functional.cross_entropy(output[0] if isinstance(output, (list, tuple)) else output, labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        return float(loss)

    return step


def torch_step(name: str, size: int, batch: int) -> Any:
    """The same with PyTorch's network of that name (torchvision), in channels-last."""
    import torch
    import torchvision

    torch.manual_seed(0)
    function, options = TORCH_NETWORKS[name]
    network = getattr(torchvision.models, function)(num_classes=1000, **options)
    if function == "mobilenet_v2":
        expand_first(network)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,))

    def step() -> float:
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    return step


def expand_first(mobilenet: Any) -> None:
    """Give the first bottleneck the 1x1 convolution that PaddleClas's has, and torchvision's has not."""
    import torch

    block = mobilenet.features[1].conv
    channels = block[0][0].in_channels
    convolution, act = torch.nn.Conv2d(channels, channels, 1, bias=False), torch.nn.ReLU6(inplace=True)
    block.insert(0, torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(channels), act))


def measure(contestant: str, case: str, steps: int) -> float:
    """Median seconds of a step in this process."""
    name, size, batch = case.split(":")
    if contestant == "torch":
        step = torch_step(name, int(size), int(batch))
    else:
        step = paddle_step(name, int(size), int(batch), "on" if contestant == "ppzoo" else "off")
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def run(contestant: str, case: str, steps: int, interpreter: str) -> float:
    """The same in a process of its own; all contestants get the same environment."""
    command = [interpreter, __file__, "--measure", contestant, "--case", case, "--steps", str(steps)]
    return float(comparison.last_line(command, f"{contestant}, {case}", find_missing_settings(os.environ)))


def compare(case: str, interpreters: dict[str, str], options: argparse.Namespace) -> comparison.Figures:
    """Seconds of each contestant by round; the ratios of the others' to ppzoo's are printed."""
    contestants = {name: partial(run, name, case, options.steps, python) for name, python in interpreters.items()}
    figures = comparison.rounds(contestants, options.pairs)
    times = ", ".join(f"{name} {1e3 * statistics.median(values):.0f} ms" for name, values in figures.items())
    against = "; ".join(
        f"{comparison.spread(comparison.ratios(values, figures['ppzoo']))} x {name}"
        for name, values in figures.items()
        if name != "ppzoo"
    )
    print(f"{case:32} {times}: {against}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="NETWORK:PIXELS:BATCH, several times; the table's by default")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a process; 5 by default")
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter of an environment with torch and torchvision")
    parser.add_argument("--measure", choices=["ppzoo", "paddle", "torch"], help=argparse.SUPPRESS)
    comparison.add_outputs(parser)
    options = parser.parse_args()
    cases = options.case or CASES
    if options.measure:
        print(measure(options.measure, cases[0], options.steps))
        return
    results = {}
    for case in cases:
        interpreters = {"ppzoo": sys.executable, "paddle": sys.executable}
        if options.torch and case.split(":")[0] in TORCH_NETWORKS:
            interpreters["torch"] = options.torch
        results[case] = compare(case, interpreters, options)
    comparison.write(options, "Training step", "seconds", results)


if __name__ == "__main__":
    main()
