"""Fake components, so that these tests need neither PaddlePaddle nor ppzoo's other packages."""

from __future__ import annotations

from typing import Literal

import pytest

from ppzoo.config import Component


def network(class_num: int = 1000, *, scale: float = 1.0, data_format: Literal["NCHW", "NHWC"] = "NCHW"): ...


def ce_loss(*, epsilon: float | None = None): ...


def topk_acc(*, topk: int | list[int] = 1): ...


def momentum(*, momentum: float = 0.9, use_nesterov: bool = False, epochs: int): ...


def l2(*, coeff: float = 0.0): ...


def cosine(
    *,
    learning_rate: float,
    epochs: int,
    warmup_epoch: int | float = 0,
    warmup_start_lr: float = 0.0,
    eta_min: float = 0,
): ...


def image_list(*, image_root: str, cls_label_path: str, class_num: int | None): ...


def decode(*, to_rgb: bool = True, channel_first: bool = False): ...


def resize(*, resize_short: int | None = None, size: int | tuple[int, int] | None = None, interpolation: str = ""): ...


class CropImage:
    def __init__(self, *, size: int | list[int]) -> None: ...


def flip(*, flip_code: Literal[-1, 0, 1] = 1): ...


def normalize(
    *,
    scale: float | str | None = None,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    order: str = "chw",
): ...


def nothing(): ...


def sampler(): ...


sampler.is_default = True


def topk(*, topk: int = 1, class_id_map_file: str | None = None): ...


@pytest.fixture
def components():
    supplied = ("epochs", "step_each_epoch", "class_num")

    def table(**constructors):
        return {name: Component.of(made, supplied, name) for name, made in constructors.items()}

    return {
        "arch": {
            name: Component.of(network, ("scale",), name) for name in ("MobileNetV2", "MobileNetV2_x0_5", "ResNet50")
        },
        "loss": table(CELoss=ce_loss),
        "metric": table(TopkAcc=topk_acc),
        "optimizer": table(Momentum=momentum),
        "regularizer": table(L2=l2),
        "lr": table(Cosine=cosine),
        "dataset": table(ImageNetDataset=image_list),
        "transform": table(
            DecodeImage=decode,
            ResizeImage=resize,
            CropImage=CropImage,
            RandCropImage=CropImage,
            RandFlipImage=flip,
            NormalizeImage=normalize,
            ToCHWImage=nothing,
        ),
        "sampler": table(DistributedBatchSampler=sampler),
        "postprocess": table(Topk=topk),
    }
