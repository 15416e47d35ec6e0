"""Build mixed precision (`AMP`), and find out whether a run can train in bfloat16 on the CPU."""

from __future__ import annotations

from ppzoo import engine, layers, native
from ppzoo.builders.data_loading import read_first_batch
from ppzoo.config import Config
from ppzoo.data.loader import Loader
from ppzoo.layers import Classifier


def build_mixed_precision(
    config: Config, network: Classifier, loader: Loader, processes: engine.ProcessGroup
) -> engine.MixedPrecision:
    """Build what `AMP` describes, for the device in use.

    On a GPU, level O2 or `use_fp16_test` applies half precision to evaluation, too.
    """
    section = config.AMP
    if section is None or not section.use_amp:
        return engine.MixedPrecision()
    return engine.choose_mixed_precision(
        level=section.level,
        dtype=section.dtype,
        scale=section.scale_loss,
        dynamic=section.use_dynamic_loss_scaling,
        promote=section.use_promote,
        evaluation=section.use_fp16_test or section.level == "O2",
        find_cpu_obstacle=lambda: find_run_bfloat16_obstacle(config, network, loader, processes),
    )


def find_run_bfloat16_obstacle(
    config: Config, network: Classifier, loader: Loader, processes: engine.ProcessGroup
) -> str | None:
    """Return why a run cannot train in bfloat16 on the CPU; None if it can."""
    if config.Global.to_static:
        return "static programs (Global.to_static) do not use the native operators, which bfloat16 needs on the CPU"
    if config.Arch.use_sync_bn and processes.size > 1:
        return "synchronized batch norms (Arch.use_sync_bn) have no bfloat16 operator"
    obstacle = native.find_native_bfloat16_obstacle()
    if obstacle is not None:
        return obstacle
    obstacle = layers.find_network_bfloat16_obstacle(network, read_first_batch(loader).images.shape[1:])
    return obstacle and f"bfloat16 is not available for {config.Arch.name} on the CPU: {obstacle}"
