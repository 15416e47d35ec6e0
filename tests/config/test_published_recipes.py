"""`configs/imagenet`: every ImageNet architecture has a configuration with its published recipe, and it is valid."""

from pathlib import Path

import pytest

from ppzoo import builders, config
from ppzoo.models import MODELS

ROOT = Path(__file__).parents[2]
# Trained with smaller images than evaluated.
TRAINED_WITH = {
    "MobileNetV4_conv_small": 224,
    "MobileNetV4_conv_medium": 256,
    "MobileNetV4_conv_large": 384,
    "MobileNetV4_hybrid_medium": 224,
    "MobileNetV4_hybrid_large": 384,
    "RepVGG_D2se": 224,
}
RECIPES = {path.stem: path for path in sorted((ROOT / "configs" / "imagenet").glob("[!_]*/*.yaml"))}


def options(ops: list, name: str) -> dict:
    (found,) = [op[name] for op in ops if name in op]
    return found


@pytest.fixture(scope="module")
def components():
    return builders.components()


def test_every_imagenet_architecture_has_a_recipe():
    assert sorted(RECIPES) == sorted(name for name, variant in MODELS.items() if variant.class_num == 1000)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_valid(name, components):
    assert not config.check(config.load(RECIPES[name]), components)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_matches_the_architecture_and_its_image_size(name):
    recipe, variant = config.load(RECIPES[name]), MODELS[name]
    assert recipe["Arch"]["name"] == name
    assert recipe["Global"]["image_shape"] == list(variant.image_shape)
    size, resize = variant.image_shape[1], variant.weights.resize if variant.weights else {"resize_short": 256}
    crop = options(recipe["DataLoader"]["Train"]["dataset"]["transform_ops"], "RandCropImage")
    assert crop["size"] == TRAINED_WITH.get(name, size)
    for ops in (recipe["DataLoader"]["Eval"]["dataset"]["transform_ops"], recipe["Infer"]["transforms"]):
        assert resize.items() <= options(ops, "ResizeImage").items()
        assert options(ops, "CropImage") == {"size": size}


@pytest.mark.parametrize("name", RECIPES)
def test_learning_rate_reaches_its_peak_and_decays(name):
    recipe = config.load(RECIPES[name])
    epochs = recipe["Global"]["epochs"]
    schedule = builders.build_lr_schedule(recipe["Optimizer"]["lr"], epochs=epochs, steps_per_epoch=1)
    rates = []
    for _ in range(epochs):
        rates.append(schedule())
        schedule.step()
    lr = recipe["Optimizer"]["lr"]
    assert max(rates) == pytest.approx(lr.get("learning_rate") or lr["values"][0], rel=0.02)
    assert rates[-1] <= 0.01 * max(rates)


@pytest.mark.parametrize("name", RECIPES)
def test_head_comment_has_command_and_published_accuracy(name):
    path = RECIPES[name]
    command, published = path.read_text(encoding="utf-8").splitlines()[:2]
    assert command == f"# ppzoo train -c {path.relative_to(ROOT / 'configs').with_suffix('').as_posix()}"
    weights = MODELS[name].weights
    top1 = "none" if weights and weights.top1 is None else f"{weights.top1:.4f}" if weights else None
    assert published.startswith(f"# Published top-1: {top1} " if weights else "# Recipe of ")
