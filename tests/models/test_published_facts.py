"""Every architecture compared with its published weights, parameter count and FLOPs."""

import math

import pytest
from helpers import reference

from ppzoo.models import MODELS, shapes_near
from ppzoo.models.flops import count
from ppzoo.models.model_stats import model_stats

ARTICLES = reference.read_json("articles.json")
RECORDS = reference.read_json("pretrained.json") | reference.read_json("pretrained_light.json")
PUBLISHED = [name for name in MODELS if MODELS[name].weights and MODELS[name].weights.params]
RECOUNTED = [
    "LeNet",
    "ESNet_x0_25",
    "EfficientNet_lite0",
    "FasterNet_T0",
    "GhostNet_x0_5",
    "GoogLeNet",
    "MobileNetV1_x0_25",
    "MobileNetV3_small_x0_35",
    "MobileNetV4_conv_small",
    "PPHGNetV2_B0",
    "PPLCNetV2_small",
    "PPLCNet_x0_25",
    "SENet18_cifar",
    "ShuffleNetV1_g8",
    "SqueezeNet1_1",
]


@pytest.fixture(scope="module")
def shapes():
    return dict(shapes_near(1, count=len(MODELS)))


@pytest.mark.parametrize("name", MODELS)
def test_weights_record_matches_the_official_one(name):
    variant = MODELS[name]
    records = {name: variant.weights, f"{name}_ssld": variant.ssld, f"{name}_ssld_stage1": variant.ssld_stage1}
    for key, weights in records.items():
        facts = RECORDS.get(key)
        if facts is None:
            assert weights is None
            continue
        assert weights.url == facts["url"]
        assert (weights.top1, weights.top5) == (facts["top1"], facts["top5"])
        assert (weights.flops, weights.params) == (facts["flops_G"], facts["params_M"])
        assert weights.img_size == variant.image_shape[1] == (facts["img_size"] or 224)
        assert weights.resize == (facts["eval_resize"] or {"resize_short": 256})


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_matches_the_published_one(name, shapes):
    """The published counts include running statistics. Two of them are less exact than printed."""
    tolerance = {"ResNet34": 0.01, "ShuffleNetV2_x2_0": 0.03}.get(name, 0.0055)
    millions = sum(map(math.prod, shapes[name].values())) / 1e6
    assert millions == pytest.approx(MODELS[name].weights.params, abs=tolerance)


@pytest.mark.parametrize("name", [name for name in MODELS if "params" in ARTICLES.get(name, {})])
def test_parameter_count_matches_the_article(name, shapes):
    classes = MODELS[name].class_num
    expected = shapes[name] if classes == ARTICLES[name]["classes"] else shapes_with(name, ARTICLES[name]["classes"])
    statistics = ("._mean", "._variance")
    assert sum(math.prod(s) for key, s in expected.items() if not key.endswith(statistics)) == ARTICLES[name]["params"]


def shapes_with(name: str, classes: int) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in MODELS[name].build(class_num=classes).state_dict().items()}


def test_nin_with_ten_classes_matches_the_article():
    assert sum(map(math.prod, shapes_with("NIN", 10).values())) == ARTICLES["NIN"]["params_10_classes"]


def test_model_stats_contain_all_architectures():
    assert list(model_stats()) == sorted(MODELS), "update model_stats.json: python -m ppzoo.models.flops"


@pytest.mark.parametrize("name", RECOUNTED)
def test_model_stats_match_a_recount(name):
    assert model_stats()[name] == count(MODELS[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_flops_match_the_published_ones(name):
    """Within 1%, including two operations per element of a batch norm, which the published FLOPs contain.

    Only ShuffleNetV2_x2_0 has 3.3% more than published.
    """
    entry = model_stats()[name]
    tolerance = 0.035 if name == "ShuffleNetV2_x2_0" else 0.01
    assert (entry.flops + 2 * entry.norm_elements) / 1e9 == pytest.approx(MODELS[name].weights.flops, rel=tolerance)
