"""Compare the logits of timm's networks with those of ppzoo's networks with the weights that `ppzoo convert` writes.

    python benchmarks/torch_import.py --torch /path/to/env/bin/python                  # all networks
    python benchmarks/torch_import.py --torch /path/to/env/bin/python --case lcnet_100:PPLCNet_x1_0

Weights, running statistics and learnable scales are random. PyTorch runs in a separate process, so that it need not be
installed in the environment of ppzoo. "difference" is the max. absolute difference of the logits, divided by the
largest absolute logit. "between images" is the same quotient, computed for the logits of two images of timm's network:
it shows how much the logits depend on the image.
The exit status is 1 if a difference exceeds 1e-4, or if ppzoo rejects a conversion that it should support.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import comparison
import numpy as np

from ppzoo.errors import PpzooError

TOLERANCE = 1e-4
REPVGG = ["A0", "A1", "A2", "B0", "B1", "B1g4", "B2", "B2g4", "B3", "B3g4", "D2se"]
# timm's name:our architecture; "+fused": with the branches fused by timm.
CASES = [
    *[f"lcnet_{n}:PPLCNet_x{int(n) // 100}_{n[1:].rstrip('0') or '0'}" for n in ("035", "050", "075", "100", "150")],
    *[f"hgnet_{size}:PPHGNet_{size}" for size in ("tiny", "small", "base")],
    *[f"hgnetv2_b{n}:PPHGNetV2_B{n}" for n in range(7)],
    *[f"mobilenetv4_{name}:MobileNetV4_{name}" for name in ("conv_small", "conv_medium", "conv_large")],
    *[f"mobilenetv4_hybrid_{size}:MobileNetV4_hybrid_{size}" for size in ("medium", "large")],
    *[f"ghostnet_{n}:GhostNet_x{n[0]}_{n[1]}" for n in ("050", "100", "130")],
    *[f"repvgg_{n.lower()}:RepVGG_{n}" for n in REPVGG],
    *[f"repvgg_{n.lower()}+fused:RepVGG_{n}" for n in ("A0", "B1g4")],
    *[f"starnet_s{n}:StarNet_S{n}" for n in range(1, 5)],
    *[f"fasternet_{n.lower()}:FasterNet_{n}" for n in ("T0", "T1", "T2", "S", "M", "L")],
]
REJECTED = ("ghostnet_",)  # timm's squeeze-and-excitation has other widths


def write_torch(case: str, size: int, folder: Path) -> None:
    """Write the weights and the logits of one of timm's networks; runs in the environment with PyTorch."""
    import timm
    import torch

    torch.manual_seed(0)
    name, _, form = case.partition(":")[0].partition("+")
    network = timm.create_model(name, num_classes=10).eval()
    randomize(network)
    images = torch.randn(8, 3, size, size) + torch.randn(8, 3, 1, 1)
    estimate_statistics(network, images)
    if form == "fused":
        from timm.utils.model import reparameterize_model

        network = reparameterize_model(network)
    with torch.no_grad():
        logits = network(images).numpy()
    torch.save(network.state_dict(), folder / "torch.pth")
    np.savez(folder / "logits.npz", images=images.numpy(), logits=logits)
    print(name)


def randomize(network: Any) -> None:
    """Replace all weights by random ones that have an effect on the logits."""
    import torch

    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, math.sqrt(2 / parameter[0].numel()))
            elif key.endswith(("weight", "scale", "gamma")):
                parameter.uniform_(0.7, 1.3)
            elif ".lab." in key:
                parameter.uniform_(0, 0.1)
            elif key != "conv_head.bias":
                parameter.normal_(0, 0.1)


def estimate_statistics(network: Any, images: Any) -> None:
    """Set the running statistics to those of the images, changed at random.

    The activations of random networks otherwise grow or shrink by many orders of magnitude from layer to layer. With
    smaller variances, rounding errors grow, too: PyTorch's float32 and float64 then differ by more than 1e-4.
    """
    import torch

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
        network.eval()
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(1.0, 1.4)


def compare(case: str, options: argparse.Namespace) -> tuple[bool, list[str]]:
    """Return whether the result is the expected one, and the cells of the table."""
    import paddle

    import ppzoo
    from ppzoo.convert import convert

    paddle.set_device("cpu")
    name, _, architecture = case.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        command = [options.torch, __file__, "--write", folder, "--case", case, "--size", str(options.size)]
        comparison.run_subprocess(command, case, {})
        target = Path(folder) / "ours.pdparams"
        try:
            convert(Path(folder) / "torch.pth", target, architecture, "timm")
        except PpzooError as error:
            return name.startswith(REJECTED), [str(error).partition(": ")[2]]
        network = ppzoo.create_model(architecture, pretrained=str(target), class_num=10)
        recorded = np.load(Path(folder) / "logits.npz")
    network.eval()
    with paddle.no_grad():
        logits = network(paddle.to_tensor(recorded["images"])).numpy()
    expected = recorded["logits"]
    difference, dependence = (
        float(np.abs(a - b).max() / np.abs(expected).max()) for a, b in ((logits, expected), expected[:2])
    )
    return difference <= TOLERANCE, [f"{difference:.1e}", f"{dependence:.1e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PYTHON", help="Python interpreter of an environment with torch and timm")
    parser.add_argument("--case", action="append", help="TIMM_NETWORK:ARCHITECTURE, can be repeated (default: all)")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels (default: 128)")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases = options.case or CASES
    if options.write:
        write_torch(cases[0], options.size, options.write)
        return
    if not options.torch:
        parser.error("--torch: expected the Python interpreter of an environment with torch and timm")
    table = comparison.Table({"network:architecture": 52, "difference": 10, "between images": 14})
    passed = True
    for case in cases:
        as_expected, cells = compare(case, options)
        passed &= as_expected
        table.print_row(case, *cells, *[""] * (2 - len(cells)))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
