"""Normalization by compiled code is bit-identical to the arithmetic of NumPy."""

import numpy as np
import pytest
from helpers.compiled_code import require_compiled_code

from ppzoo.data.compiled.normalization import normalize as normalize_now
from ppzoo.data.transforms import NormalizeImage, normalize

OPTIONS = [
    {},
    {"scale": "1.0/255.0"},
    {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]},
    {"scale": 0.0039, "mean": [0.1, 0.7, 0.30001], "std": [1e-3, 7.77, 123.456]},
    {"mean": [0.5, 0.5, 0.5], "std": [-0.3, 1.9999999, 3e-39]},
]


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    require_compiled_code(monkeypatch)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (3, 16, 16), (2, 33, 31), (40, 112, 112), (9, 203, 201)])
def test_results_are_bit_identical(options, shape, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = NormalizeImage(order="", **options).batch(images)
    monkeypatch.setattr(normalize, "normalize", lambda *given: False)
    expected = NormalizeImage(order="", **options).batch(images)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("options", [*OPTIONS, {"channel_num": 4}, {"output_fp16": True}])
def test_a_single_image_is_normalized_by_it_too(options, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (31, 33, 3), np.uint8)[2:, 1:]
    transform, calls = NormalizeImage(order="", **options), []
    transform._is_compiled()
    monkeypatch.setattr(
        normalize, "normalize", lambda *given, **named: calls.append(1) or normalize_now(*given, **named)
    )
    found = transform(image, None)
    monkeypatch.setattr(normalize, "normalize", lambda *given, **named: False)
    assert bool(calls) == transform._is_compiled()
    assert found.tobytes() == transform(image, None).tobytes()


def test_compiled_code_is_used_for_usual_options_and_three_channels():
    assert all(NormalizeImage(order="", **options)._is_compiled() for options in OPTIONS[:4])
    assert not NormalizeImage(order="", mean=[0.5], std=[0.5])._is_compiled()


def test_random_options_are_exact():
    random = np.random.default_rng(0)
    for _ in range(300):
        mean, std = random.uniform(0, 1, 3).tolist(), random.uniform(0.01, 2, 3).tolist()
        transform = NormalizeImage(order="", scale=random.uniform(0.001, 1), mean=mean, std=std)
        images = random.integers(0, 256, (1, 4, 37, 3), np.uint8)
        expected = np.stack([table[0][images[..., channel]] for channel, table in enumerate(transform.tables)], axis=1)
        assert transform.batch(images).tobytes() == expected.tobytes()
