"""Time of a training step with ppzoo's native operators, plain PaddlePaddle, and PyTorch in channels-last.

    python benchmarks/train.py                                   # all cases in the list CASES below
    python benchmarks/train.py --case MobileNetV2_x0_5:64:64 --pairs 7 --torch /path/to/env/bin/python

Each round runs every implementation once, each in a separate process with the same environment variables. A process
warms up and then reports the median time of its steps. Speedups are computed within each round, so that changes of the
machine's speed between rounds do not favor any implementation. The table shows medians, and the range of speedups.

PyTorch uses its fused optimizer. `--compile` also measures `torch.compile`; the table is followed by the time of its
first step, which includes the compilation.

With `--dtype bfloat16`, ppzoo and PyTorch (autocast) train in bfloat16, and ppzoo in float32 replaces PaddlePaddle,
which has no bfloat16 on CPUs:

    python benchmarks/train.py --dtype bfloat16 --case ResNet18:224:16 --torch /path/to/env/bin/python
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import comparison

from ppzoo.native.env_settings import find_missing_settings

# Network:image size in pixels:batch size.
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
    "ResNet50:128:32",
    "GoogLeNet:224:16",
    "SqueezeNet1_1:128:32",
    "PPLCNet_x1_0:128:32",
    "PPHGNetV2_B0:128:32",
    "MobileNetV4_conv_small:128:32",
    "GhostNet_x1_0:128:32",
    "RepVGG_A0:128:32",
]
WARM_UP = 3
TORCH = ("torch", COMPILED := "torch.compile")
TORCH_NETWORKS = {
    # round_nearest=4 gives the channel numbers of PaddleClas, such as 12, which torchvision rounds to 16 by default.
    "MobileNetV2_x0_5": ("mobilenet_v2", {"width_mult": 0.5, "round_nearest": 4}),
    "MobileNetV2": ("mobilenet_v2", {}),
    "ResNet18": ("resnet18", {}),
    "ResNet50": ("resnet50", {}),
    "DenseNet121": ("densenet121", {}),
    "EfficientNetB0": ("efficientnet_b0", {}),
    "ShuffleNetV2_x0_5": ("shufflenet_v2_x0_5", {}),
    "MobileNetV3_small_x1_0": ("mobilenet_v3_small", {}),
    "GoogLeNet": ("googlenet", {"init_weights": False}),
    "SqueezeNet1_1": ("squeezenet1_1", {}),
}
TIMM_NETWORKS = {
    "MobileNetV1": ("mobilenetv1_100", {}),
    "SE_ResNet18_vd": ("resnet18d", {"block_args": {"attn_layer": "se"}}),
    "PPLCNet_x1_0": ("lcnet_100", {}),
    "PPHGNetV2_B0": ("hgnetv2_b0", {}),
    "MobileNetV4_conv_small": ("mobilenetv4_conv_small", {}),
    "GhostNet_x1_0": ("ghostnet_100", {}),
    "RepVGG_A0": ("repvgg_a0", {}),
}


def paddle_step(name: str, size: int, batch: int, mode: str, dtype: str) -> Any:
    """Return a function that runs one training step with PaddlePaddle; `mode` is Global.native."""
    import paddle

    import ppzoo
    from ppzoo import native
    from ppzoo.layers import find_network_bfloat16_obstacle
    from ppzoo.native.momentum import Momentum
    from ppzoo.native.operators import autocast_bfloat16

    paddle.set_device("cpu")
    native.set_mode(mode)  # type: ignore[arg-type]
    paddle.seed(0)
    network = ppzoo.create_model(name, class_num=1000)
    network.train()
    if dtype == "bfloat16":
        obstacle = native.find_native_bfloat16_obstacle() or find_network_bfloat16_obstacle(network, [3, size, size])
        if obstacle:
            sys.exit(f"{name}: bfloat16 is not available: {obstacle}")
    optimizer_class = Momentum if mode == "on" else paddle.optimizer.Momentum
    optimizer = optimizer_class(0.01, parameters=network.parameters(), weight_decay=1e-4)
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 1000, [batch])

    def step() -> float:
        with autocast_bfloat16() if dtype == "bfloat16" else nullcontext():
            output = network(images)
        loss = paddle.nn.functional.cross_entropy(output[0] if isinstance(output, (list, tuple)) else output, labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        return float(loss)

    return step


def torch_step(name: str, size: int, batch: int, dtype: str, *, is_compiled: bool) -> Any:
    """Return a function that runs one training step of torchvision's or timm's network in channels-last."""
    import torch

    torch.manual_seed(0)
    network = torch_network(name).to(memory_format=torch.channels_last).train()
    forward = torch.compile(network) if is_compiled else network
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,))

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            output = forward(images)
            loss = torch.nn.functional.cross_entropy(output[0] if isinstance(output, tuple) else output, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    return step


def torch_network(name: str) -> Any:
    """Build torchvision's network, or timm's if torchvision has none."""
    if name in TIMM_NETWORKS:
        import timm

        function, options = TIMM_NETWORKS[name]
        network = timm.create_model(function, num_classes=1000, **options)
        if name.startswith("RepVGG"):
            sample_images(network.stem.conv_1x1)
        return network
    import torchvision

    function, options = TORCH_NETWORKS[name]
    network = getattr(torchvision.models, function)(num_classes=1000, **options)
    if function == "mobilenet_v2":
        expand_first(network)
    if function == "googlenet":
        match_paddleclas_googlenet(network)
    return network


def sample_images(block: Any) -> None:
    """Replace the stride of the stem's 1x1 convolution by sampling its input, which gives the same output.

    PyTorch 2.14 ends by signal 11 in the weight gradient of a 1x1 convolution with a stride, three input channels and
    channels-last memory.
    """
    import torch

    class SampledConvolution(torch.nn.Module):
        def __init__(self, conv: torch.nn.Conv2d) -> None:
            super().__init__()
            (self.step, _), conv.stride = conv.stride, (1, 1)
            self.conv = conv

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x[:, :, :: self.step, :: self.step])

    block.conv = SampledConvolution(block.conv)


def expand_first(mobilenet: Any) -> None:
    """Add the 1x1 expansion of PaddleClas's first bottleneck, which torchvision omits."""
    import torch

    block = mobilenet.features[1].conv
    channels = block[0][0].in_channels
    convolution, act = torch.nn.Conv2d(channels, channels, 1, bias=False), torch.nn.ReLU6(inplace=True)
    block.insert(0, torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(channels), act))


def match_paddleclas_googlenet(googlenet: Any) -> None:
    """Change torchvision's GoogLeNet to PaddleClas's, in place.

    All batch norms are removed, and the second convolution of the third branch of each inception block is 5x5, as in
    the paper, instead of 3x3.
    """
    import torch

    for name, unit in googlenet.named_modules():
        if name.endswith("branch3.1"):
            unit.conv = torch.nn.Conv2d(unit.conv.in_channels, unit.conv.out_channels, 5, padding=2, bias=False)
        if hasattr(unit, "bn"):
            unit.bn = torch.nn.Identity()


def measure(implementation: str, case: str, steps: int, dtype: str) -> tuple[float, float]:
    """Return the median seconds per step in this process, and the seconds of the first step."""
    name, size, batch = case.split(":")
    if implementation in TORCH:
        step = torch_step(name, int(size), int(batch), dtype, is_compiled=implementation == COMPILED)
    else:
        mode = "off" if implementation == "paddle" else "on"
        precision = dtype if implementation == "ppzoo" else "float32"
        step = paddle_step(name, int(size), int(batch), mode, precision)
    times = []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:]), times[0]


def run(
    implementation: str,
    case: str,
    *,
    steps: int,
    interpreter: str = sys.executable,
    dtype: str = "float32",
    first_steps: dict[str, list[float]] | None = None,
) -> float:
    """Run `measure` in a separate process; all implementations get the same environment variables.

    Args:
        first_steps: implementation -> seconds of its first steps; those of this process are appended.
    """
    command = [interpreter, __file__, "--measure", implementation, "--case", case]
    command += ["--steps", str(steps), "--dtype", dtype]
    line = comparison.run_subprocess(command, f"{implementation}, {case}", find_missing_settings(os.environ))
    median, first = map(float, line.split())
    if first_steps is not None:
        first_steps.setdefault(implementation, []).append(first)
    return median


def cells(case: str, results: comparison.Results, names: list[str]) -> list[str]:
    """Format the table row of a case; an implementation that has no such network gets a dash."""
    times = [f"{1e3 * statistics.median(results[name]):.0f} ms" if name in results else "-" for name in names]
    speedups = [
        comparison.summarize(comparison.ratios(results[name], results["ppzoo"])) if name in results else "-"
        for name in names[1:]
    ]
    return [case, *times, *speedups]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--case",
        action="append",
        help=f"NETWORK:PIXELS:BATCH, can be repeated (default: {len(CASES)} cases)",
    )
    parser.add_argument("--steps", type=int, default=5, help="timed steps per process (default: 5)")
    parser.add_argument(
        "--torch",
        metavar="PYTHON",
        help="also run PyTorch: the Python interpreter of an environment with torch, torchvision and timm",
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="default: float32")
    parser.add_argument("--compile", action="store_true", help="also run torch.compile")
    parser.add_argument("--measure", choices=["ppzoo", "ppzoo32", "paddle", *TORCH], help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    cases = options.case or CASES
    if options.measure:
        print(*measure(options.measure, cases[0], options.steps, options.dtype))
        return
    peer = "ppzoo32" if options.dtype == "bfloat16" else "paddle"  # ppzoo32: ppzoo in float32
    torch_names = TORCH[: 2 if options.compile else 1] if options.torch else ()
    names = ["ppzoo", peer, *torch_names]
    columns = {"network:pixels:batch": 32, **dict.fromkeys(names, 8)}
    table = comparison.Table(columns | {f"speedup over {name}": comparison.RATIO_WIDTH for name in names[1:]})
    results, first_steps = {}, {}
    settings = {"steps": options.steps, "dtype": options.dtype}
    for case in cases:
        interpreters = {"ppzoo": sys.executable, peer: sys.executable}
        if case.split(":")[0] in TORCH_NETWORKS | TIMM_NETWORKS:
            interpreters |= dict.fromkeys(torch_names, options.torch)
        first_steps[case] = {}
        measurements = {
            name: partial(run, name, case, **settings, interpreter=interpreter, first_steps=first_steps[case])
            for name, interpreter in interpreters.items()
        }
        results[case] = comparison.run_rounds(measurements, options.pairs)
        table.print_row(*cells(case, results[case], names))
    for case, first in first_steps.items():
        if COMPILED in first:
            print(f"{case}: first step with torch.compile: {comparison.summarize(first[COMPILED], '.0f')} s")
    comparison.write_results(options, "Training step", "seconds", results, first_steps=first_steps)


if __name__ == "__main__":
    main()
