"""Mixed batches: labels match the images, distributions equal PaddleClas's, workers return bit-identical batches."""

import numpy as np
import pytest

from ppzoo.data import BATCH_TRANSFORMS, Compose, DistributedBatchSampler, FashionMNIST, Samples
from ppzoo.data.batch_transforms.fmix import FmixOperator
from ppzoo.data.loader import Loader
from ppzoo.data.transforms import NormalizeImage
from ppzoo.errors import ConfigError, DataError

CLASSES = 6
HYBRIDS = [
    {"mode": mode, "mixup_alpha": mixup, "cutmix_alpha": cutmix, "label_smoothing": 0.0}
    for mode in ("batch", "pair", "elem")
    for mixup, cutmix in ((0.8, 0.0), (0.0, 1.0), (0.8, 1.0))
]
ALL = [
    ("MixupOperator", {"alpha": 0.4}),
    ("CutmixOperator", {"alpha": 1.0}),
    ("FmixOperator", {}),
    ("FmixOperator", {"max_soft": 0.2, "reformulate": True}),
    ("OpSampler", {"MixupOperator": {"alpha": 0.8, "prob": 0.5}, "CutmixOperator": {"alpha": 1.0, "prob": 0.5}}),
    *(("MixupCutmixHybrid", options) for options in HYBRIDS),
    ("MixupCutmixHybrid", {"cutmix_minmax": [0.3, 0.8], "mixup_alpha": 0.0, "label_smoothing": 0.0}),
]


def build(name, **options):
    return BATCH_TRANSFORMS[name](class_num=CLASSES, **options)


def batch(count=6, height=10, width=12):
    """One image per class, whose value is 1 in the channel of that class and 0 in the others."""
    images = np.zeros((count, CLASSES, height, width), np.float32)
    labels = np.arange(count) % CLASSES
    images[np.arange(count), labels] = 1
    return images, labels


@pytest.mark.parametrize(("name", "options"), ALL)
@pytest.mark.parametrize("count", [6, 5, 1])
def test_mixed_labels_match_the_mixed_images(name, options, count):
    for seed in range(30):
        images, labels = build(name, **options)(*batch(count), np.random.default_rng(seed))
        assert (images.dtype, labels.dtype, labels.shape) == (np.float32, np.float32, (count, CLASSES))
        np.testing.assert_allclose(images.mean(axis=(2, 3)), labels, atol=1e-5)
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_mixing_draws_only_from_its_generator(name, options):
    def results(seed):
        random = np.random.default_rng(seed)
        return [build(name, **options)(*batch(), random)[0].tobytes() for _ in range(5)]

    first, state = results(1), np.random.get_state()[1].copy()
    assert results(1) == first
    assert results(2) != first
    assert (np.random.get_state()[1] == state).all()


def test_mixup_blends_with_one_beta_distributed_weight():
    shares = []
    for seed in range(2000):
        images, _ = build("MixupOperator", alpha=0.4)(*batch(), np.random.default_rng(seed))
        random = np.random.default_rng(seed)
        order, share = random.permutation(6), random.beta(0.4, 0.4)
        shares.append(share)
        expected = share * batch()[0] + (1 - share) * batch()[0][order]
        np.testing.assert_allclose(images, expected, atol=1e-6)
    assert np.var(shares) == pytest.approx(1 / (4 * 1.8), rel=0.1)


def test_cutmix_pastes_one_rectangle_from_another_image():
    areas = []
    for seed in range(400):
        original = np.random.default_rng(9).normal(size=(4, 3, 20, 30)).astype(np.float32)
        images, _ = build("CutmixOperator", alpha=1.0)(original.copy(), np.arange(4), np.random.default_rng(seed))
        order = np.random.default_rng(seed).permutation(4)
        moved = np.flatnonzero(order != np.arange(4))
        if len(moved) == 0:
            continue
        changed = (images != original)[moved].any(axis=1)
        assert (changed == changed[0]).all()
        rows, columns = changed[0].any(axis=1), changed[0].any(axis=0)
        np.testing.assert_array_equal(changed[0], np.outer(rows, columns))
        np.testing.assert_array_equal(images[:, :, rows][..., columns], original[order][:, :, rows][..., columns])
        areas.append(changed[0].mean())
    assert 0.25 < np.mean(areas) < 0.45  # 1/2 before clipping


def test_an_fmix_mask_covers_its_fraction_in_few_regions():
    fmix = FmixOperator(class_num=CLASSES)
    crossings = []
    for seed in range(50):
        mask = fmix.mask(64, 48, 0.3, np.random.default_rng(seed))
        assert set(np.unique(mask)) == {0.0, 1.0}
        assert mask.mean() == pytest.approx(0.3, abs=1 / mask.size)
        crossings.append((np.diff(mask, axis=1) != 0).sum() / 64)
    assert np.mean(crossings) < 6  # white noise has 20
    soft = FmixOperator(class_num=CLASSES, max_soft=0.1).mask(40, 40, 0.5, np.random.default_rng(0))
    assert len(np.unique(soft)) > 100
    assert soft.mean() == pytest.approx(0.5, abs=1e-3)


def test_one_of_several_transforms_is_drawn_by_its_probability():
    sampler = build("OpSampler", MixupOperator={"alpha": 1.0, "prob": 0.5}, CutmixOperator={"alpha": 1.0, "prob": 0.3})
    random, kinds = np.random.default_rng(0), {"none": 0, "blended": 0, "pasted": 0}
    for _ in range(1500):
        images, labels = sampler(*batch(6, 40, 40), random)
        complete = set(np.unique(images)) <= {0.0, 1.0}
        unmixed = (labels.max(axis=1) == 1).all()
        kinds["none" if unmixed else "pasted" if complete else "blended"] += 1
    assert kinds["blended"] == pytest.approx(750, abs=80)
    assert kinds["pasted"] == pytest.approx(450, abs=90)
    assert kinds["none"] == pytest.approx(300, abs=80)


def test_the_hybrid_smooths_labels_and_has_its_probability():
    _, labels = build("MixupCutmixHybrid", label_smoothing=0.1, prob=0.0, num_classes=CLASSES)(
        *batch(), np.random.default_rng(0)
    )
    np.testing.assert_allclose(labels, 0.9 * np.eye(6) + 0.1 / 6, atol=1e-6)
    mixed = sum(
        build("MixupCutmixHybrid", prob=0.5)(*batch(), np.random.default_rng(seed))[0].max() < 1 for seed in range(200)
    )
    assert 70 < mixed < 130


def test_the_hybrid_draws_one_ratio_per_batch_pair_or_image():
    for mode, shares in (("batch", 1), ("pair", 3), ("elem", 6)):
        _, labels = build("MixupCutmixHybrid", mode=mode, label_smoothing=0.0)(*batch(), np.random.default_rng(3))
        own = np.round(labels[np.arange(6), np.arange(6)], 6)
        assert len(set(own)) == shares
        np.testing.assert_allclose(labels[0, 5] + labels[0, 0], 1, atol=1e-6)


def test_soft_labels_can_be_mixed_and_half_precision_is_kept():
    images, labels = batch()
    images, labels = build("CutmixOperator", alpha=1.0)(images, labels, np.random.default_rng(0))
    images, labels = build("MixupOperator")(images.astype(np.float16), labels, np.random.default_rng(1))
    assert images.dtype == np.float16
    np.testing.assert_allclose(images.astype(np.float32).mean(axis=(2, 3)), labels, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MixupOperator", {"alpha": 0}),
        ("CutmixOperator", {"alpha": -1}),
        ("FmixOperator", {"max_soft": 0.6}),
        ("OpSampler", {}),
        ("OpSampler", {"MixupOperator": {"alpha": 1.0}}),
        ("OpSampler", {"MixupOperator": {"alpah": 1.0, "prob": 1.0}}),
        ("OpSampler", {"MixupOperator": {"alpha": "1", "prob": 1.0}}),
        ("OpSampler", {"MixupOperator": {"prob": 0.6}, "CutmixOperator": {"prob": 0.6}}),
        ("MixupCutmixHybrid", {"mixup_alpha": 0.0}),
        ("MixupCutmixHybrid", {"num_classes": 4}),
        ("MixupCutmixHybrid", {"mode": "row"}),
        ("MixupCutmixHybrid", {"cutmix_minmax": [0.5, 1.5]}),
        ("MixupCutmixHybrid", {"prob": 1.2}),
    ],
)
def test_invalid_options_are_rejected(name, options):
    with pytest.raises(ConfigError):
        build(name, **options)


def test_a_label_out_of_range_is_rejected():
    with pytest.raises(DataError, match=r"labels from 0 to 5 for mixing, got 0 to 6"):
        build("MixupOperator")(batch()[0], np.array([0, 1, 2, 3, 4, 6]), np.random.default_rng(0))


def loader(workers, rank=0):
    sampler = DistributedBatchSampler(batch_size=8, length=60, shuffle=True, rank=rank, world_size=2)
    samples = Samples(FashionMNIST(mode="test"), Compose([NormalizeImage(order="")]), seed=4)
    mixing = [
        BATCH_TRANSFORMS["OpSampler"](
            class_num=10, MixupOperator={"alpha": 1.0, "prob": 0.5}, CutmixOperator={"alpha": 1.0, "prob": 0.5}
        )
    ]
    return Loader(samples, sampler, num_workers=workers, batch_transforms=mixing)


def arrays(batches):
    return [[field.numpy() for field in one] for one in batches]


@pytest.mark.parametrize("workers", [1, 2])
def test_mixed_batches_are_bit_identical_with_any_number_of_workers(workers):
    expected, found = arrays(loader(0).epoch(1)), arrays(loader(workers).epoch(1))
    assert [one[1].shape for one in found] == [(8, 10)] * 3 + [(6, 10)]
    for one, other in zip(found, expected, strict=True):
        for field, reference_field in zip(one, other, strict=True):
            np.testing.assert_array_equal(field, reference_field)


def test_mixing_differs_by_epoch_step_and_process_and_is_resumable():
    complete = arrays(loader(0).epoch(1))
    for resumed, once in zip(arrays(loader(2).epoch(1, start_step=2)), complete[2:], strict=True):
        np.testing.assert_array_equal(resumed[0], once[0])
    shares = {one[1].max(axis=1).min() for one in complete}
    shares |= {one[1].max(axis=1).min() for one in arrays(loader(0).epoch(2)) + arrays(loader(0, rank=1).epoch(1))}
    assert len(shares) >= 9
