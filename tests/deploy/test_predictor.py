"""Predictions do not depend on the engine, on what normalizes the images, or on the number of calling threads."""

import gc
import itertools
import pickle
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from helpers.compiled_code import require_compiled_code
from helpers.forks import succeeds_when_forked
from helpers.needs import needs_engine
from PIL import Image

import ppzoo
from ppzoo.data.compiled import library, resizing
from ppzoo.deploy import export
from ppzoo.deploy.onnx_engines import OpenVino
from ppzoo.errors import BatchError, DataError, PpzooError

RESIZE, CROP = {"ResizeImage": {"resize_short": 20}}, {"CropImage": {"size": 16}}
NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "order": ""}}
TO_CHW = {"ToCHWImage": None}
STANDARD = [RESIZE, CROP, NORMALIZE, TO_CHW]
OTHER_LISTS = [
    [RESIZE, CROP, TO_CHW, {"NormalizeImage": {**NORMALIZE["NormalizeImage"], "order": "chw"}}],
    [RESIZE, CROP, {"NormalizeImage": {**NORMALIZE["NormalizeImage"], "output_fp16": True}}, TO_CHW],
    [RESIZE, {"Pad": {"padding": 2}}, {"CropImage": {"size": 16}}, NORMALIZE, TO_CHW],
    [RESIZE, CROP, TO_CHW],
]
LISTS = [STANDARD, [{"DecodeImage": {"to_rgb": False}}, *STANDARD], [{"ResizeImage": {"size": 16}}, NORMALIZE, TO_CHW]]
PNG = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8))[1].tobytes()


def export_with(folder, ops, postprocess=None):
    paddle.seed(0)
    layers = paddle.nn.Conv2D(3, 4, 3, stride=2), paddle.nn.Flatten(), paddle.nn.Linear(4 * 49, 7)
    labels = {"label_list": [f"class {index}" for index in range(7)]}
    section = postprocess or {"Topk": {"topk": 5, **labels}}
    settings = {"PreProcess": {"transform_ops": ops}, "PostProcess": section}
    export(paddle.nn.Sequential(*layers), folder, [3, 16, 16], settings)
    return folder


def noise(count=1, height=25, width=33, channels=3):
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8))


def assert_same(predictions, expected):
    for prediction, reference in zip(predictions, expected, strict=True):
        assert prediction["class_ids"] == reference["class_ids"]
        assert prediction["label_names"] == reference["label_names"]
        np.testing.assert_allclose(prediction["scores"], reference["scores"], atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_with(tmp_path_factory.mktemp("predictor") / "inference", STANDARD)


def test_the_compiled_code_prepares_images(exported, monkeypatch):
    require_compiled_code(monkeypatch)
    monkeypatch.setattr(library._State, "library", None)
    monkeypatch.setattr(library._State, "is_searched", True)
    predictor = ppzoo.Predictor(exported, engine="paddle")
    calls = []
    monkeypatch.setattr(resizing, "exact_library", lambda: calls.append(1) or library.loaded_library())
    predictor.predict(noise())
    assert library.loaded_library() is not None and calls


@pytest.mark.parametrize(("ops", "in_engine"), [(ops, True) for ops in LISTS] + [(ops, False) for ops in OTHER_LISTS])
def test_normalization_in_the_engine_equals_the_transforms(tmp_path, ops, in_engine):
    needs_engine("openvino")
    folder = export_with(tmp_path / "inference", ops)
    fast = ppzoo.Predictor(folder, engine="openvino", batch_size=4)
    assert fast.engine.takes_pixels == in_engine
    plain = ppzoo.Predictor(folder, engine="paddle", batch_size=4)
    assert not plain.engine.takes_pixels
    for images in (noise(1), noise(4, 40, 21), noise(6), [*noise(2, 16, 16), *noise(1, 90, 100)]):
        assert_same(fast.predict(images), plain.predict(images))


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_predictions_do_not_depend_on_the_number_of_images(exported, engine):
    needs_engine(engine)
    predictor = ppzoo.Predictor(exported, engine=engine, batch_size=4)
    images = noise(9)
    alone = [predictor.predict(image)[0] for image in images]
    for count in (9, 4, 3, 2, 1, 0, 5):
        assert_same(predictor.predict(images[:count]), alone[:count])


def test_a_large_model_runs_batches_in_one_request(exported, monkeypatch):
    needs_engine("openvino")
    images = noise(9)
    expected = ppzoo.Predictor(exported, engine="openvino", batch_size=4).predict(images)
    monkeypatch.setattr(OpenVino, "MAX_SMALL_MODEL", 0)
    assert_same(ppzoo.Predictor(exported, engine="openvino", batch_size=4).predict(images), expected)


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_several_threads_can_predict_at_once(exported, engine):
    needs_engine(engine)
    predictor = ppzoo.Predictor(exported, engine=engine, batch_size=3)
    images = noise(12)
    alone = [predictor.predict(image)[0] for image in images]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            parts = [images[start : start + size] for start, size in ((0, 1), (1, 3), (4, 1), (5, 7))]
            assert_same(list(itertools.chain(*threads.map(predictor.predict, parts))), alone)


@pytest.mark.parametrize("engine", ["paddle", "openvino"])
def test_the_predictor_still_works_after_an_unreadable_image(exported, tmp_path, engine):
    needs_engine(engine)
    predictor = ppzoo.Predictor(exported, batch_size=4, engine=engine)
    images = noise(4)
    expected = predictor.predict(images)
    with pytest.raises(DataError, match=r"none\.jpg: cannot read the image: No such file") as error:
        predictor.predict([images[0], tmp_path / "none.jpg", *images])
    assert "\n" not in str(error.value)
    assert_same(predictor.predict(images), expected)


def test_files_are_decoded_if_the_export_has_no_decode_image(exported, tmp_path):
    (image,) = noise()
    file = tmp_path / "image.png"
    cv2.imwrite(str(file), image[:, :, ::-1])
    predictor = ppzoo.Predictor(exported, engine="paddle")
    expected = predictor.predict(image)
    assert_same(predictor.predict([file, str(file), file.read_bytes()]), expected * 3)


@pytest.mark.parametrize(
    ("image", "received"),
    [
        (
            np.zeros((25, 33, 3), np.float32),
            r"shape \(25, 33, 3\) and type float32: pass pixels from 0 to 255 as uint8",
        ),
        (np.zeros((25, 33, 3), np.uint16), r"shape \(25, 33, 3\) and type uint16"),
        (
            np.zeros((25, 33), np.uint8),
            r"H x W x 3 .*shape \(25, 33\) and type uint8, which is grayscale: pass np.dstack",
        ),
        (np.zeros((2, 25, 33, 3), np.uint8), r"shape \(2, 25, 33, 3\) and type uint8: pass list\(images\)$"),
        (
            np.zeros((25, 33, 1), np.uint8),
            r"H x W x 3 .*shape \(25, 33, 1\) and type uint8, which is grayscale: pass np.dst",
        ),
        (
            np.zeros((25, 33, 4), np.uint8),
            r"shape \(25, 33, 4\) and type uint8, which has an alpha channel: pass image",
        ),
        (np.zeros((3, 25, 33), np.uint8), r"shape \(3, 25, 33\) and type uint8: pass image.transpose\(1, 2, 0\)$"),
        (np.zeros((25, 33, 2), np.uint8), r"H x W x 3 .*shape \(25, 33, 2\) and type uint8$"),
        (np.zeros((0, 33, 3), np.uint8), r"\(0, 33, 3\)"),
        (np.array(["a.jpg"]), r"type <U5: pass images.tolist\(\)$"),
        (np.array([None]), r"type object: pass list\(images\)$"),
        (np.zeros((25, 33, 3), bool), "type bool: pass pixels from 0 to 255 as uint8$"),
        (b"", r"empty .*\(got 0 bytes\)$"),
        (b"no image", r"expected an image, .*\(got 8 bytes\)$"),
        (
            b64encode(PNG),
            rf"\(got {len(b64encode(PNG))} bytes; it looks like base64: pass base64.b64decode\(data\)\)$",
        ),
        (
            b64encode(PNG).decode(),
            f"got {len(b64encode(PNG))} characters that look like base64: pass base64.b64dec",
        ),
        (
            "data:image/png;base64," + b64encode(PNG).decode(),
            r"characters that look like base64: pass base64.b64decode",
        ),
        ("x" * 300 + ".jpg", "expected the path of an image, got a string of 304 characters that is not a path$"),
        ("", "expected the path of an image, got an empty string$"),
        ("a\0b.jpg", r"got 'a\\x00b.jpg', which contains a character that is invalid in paths$"),
        ("\ud800.jpg", r"got '\\ud800.jpg', which contains a character that is invalid in paths$"),
        ("https://example.com/a.jpg", "got a URL: download it, and pass its bytes$"),
        (Path("none.jpg"), "none.jpg: cannot read the image: No such file or directory$"),
        (Path(__file__).parent, "deploy: expected an image file, got a folder: pass a list of its image files$"),
        (Image.new("RGB", (4, 4)), r"got a Pillow image: pass np.asarray\(image.convert\('RGB'\)\)$"),
        (BytesIO(PNG), r"got BytesIO, a file object: pass the result of read\(\)$"),
        (bytearray(PNG), r"got bytearray: pass bytes\(image\)$"),
        (paddle.zeros([4, 4, 3]), r"got Tensor: pass image.numpy\(\)$"),
        ({"a.jpg"}, "got set: pass a list of images$"),
        (None, "got NoneType$"),
        (7, "got int$"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) and value.isprintable() else type(value).__name__,
)
def test_objects_that_are_not_images_are_refused_in_one_line(exported, image, received):
    predictor = ppzoo.Predictor(exported, engine="paddle")
    for images in (image, [*noise(), image]):
        with pytest.raises(DataError, match=received) as error:
            predictor.predict(images)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_batch_error_has_the_invalid_images_and_the_results_of_the_others(exported, tmp_path):
    predictor = ppzoo.Predictor(exported, batch_size=3, engine="paddle")
    images = noise(8)
    expected = predictor.predict(images)
    broken = {0: tmp_path / "none.jpg", 4: b"no image", 5: images[5][:, :, :1], 7: None}
    with pytest.raises(BatchError) as caught:
        predictor.predict([broken.get(index, image) for index, image in enumerate(images)])
    error = caught.value
    assert list(error.errors) == list(broken)
    assert [index for index, result in enumerate(error.results) if result is None] == list(broken)
    kept = [index for index in range(8) if index not in broken]
    assert_same([error.results[index] for index in kept], [expected[index] for index in kept])
    text = str(error)
    missing = f"{tmp_path / 'none.jpg'}: cannot read the image"
    assert text.startswith(f"4 of 8 images cannot be predicted: images[0]: {missing}")
    assert "; images[4]: " in text and "; images[5]: " in text and text.endswith("; 1 more")
    assert "got NoneType" in str(error.errors[7])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.results) == (text, error.results)


def test_a_single_invalid_image_is_a_plain_data_error(exported):
    predictor = ppzoo.Predictor(exported, engine="paddle")
    with pytest.raises(DataError) as caught:
        predictor.predict(b"no image")
    assert type(caught.value) is DataError
    assert predictor.predict([]) == predictor.predict(()) == []


@pytest.mark.parametrize("engine", ["paddle", "openvino"])
def test_an_image_of_the_wrong_shape_does_not_affect_the_others(tmp_path, engine):
    needs_engine(engine)
    folder = export_with(tmp_path / "inference", [NORMALIZE, TO_CHW])  # images keep their size
    predictor = ppzoo.Predictor(folder, engine=engine)
    fitting = noise(2, 16, 16)
    with pytest.raises(BatchError, match=r"1 of 3 .*images\[0\]: .*add CropImage, or ResizeImage") as caught:
        predictor.predict([*noise(1, 20, 16), *fitting])
    assert_same(caught.value.results[1:], predictor.predict(fitting))


def test_a_grayscale_network_expects_one_channel(tmp_path):
    paddle.seed(0)
    network = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(256, 2))
    ops = [{"DecodeImage": {"channels": 1}}, {"NormalizeImage": {"mean": [0.5], "std": [0.5], "order": ""}}, TO_CHW]
    labels = {"Topk": {"topk": 1, "label_list": ["a", "b"]}}
    export(network, tmp_path / "i", [1, 16, 16], {"PreProcess": {"transform_ops": ops}, "PostProcess": labels})
    predictor = ppzoo.Predictor(tmp_path / "i", engine="paddle")
    (gray,) = noise(1, 16, 16, 1)
    assert_same(predictor.predict([gray, np.dstack([gray] * 3)]), predictor.predict(gray) * 2)
    with pytest.raises(DataError, match=r"H x W x 1 uint8 array, got an array of shape \(16, 16\)"):
        predictor.predict(gray[:, :, 0])


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_a_forked_process_can_predict_after_a_predictor_was_deleted(exported, engine):
    """OpenVINO keeps the threads of deleted models; a child process does not have them."""
    needs_engine(engine)
    ppzoo.Predictor(exported, engine=engine, batch_size=4).predict(noise(9))
    gc.collect()

    def child():
        return len(ppzoo.Predictor(exported, engine=engine, batch_size=4).predict(noise(9))) == 9

    assert succeeds_when_forked(child)


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_a_predictor_refuses_to_work_in_a_forked_process(exported, engine, used):
    needs_engine(engine)
    predictor = ppzoo.Predictor(exported, engine=engine, batch_size=4)
    if used:
        predictor.predict(noise(9))

    def child():
        with pytest.raises(PpzooError, match="created in another process; create it in this one"):
            predictor.predict(noise(9))
        return len(ppzoo.Predictor(exported, engine=engine, batch_size=4).predict(noise(9))) == 9

    assert succeeds_when_forked(child)
    assert len(predictor.predict(noise(9))) == 9


def test_probabilities_are_those_of_the_predictions(exported):
    predictor = ppzoo.Predictor(exported, engine="paddle", batch_size=2)
    images = noise(3)
    probabilities = predictor.probabilities(images)
    assert probabilities.shape == (3, 7) and probabilities.dtype == np.float32
    for row, prediction in zip(probabilities, predictor.predict(images, topk=7), strict=True):
        np.testing.assert_array_equal(row[prediction["class_ids"]], np.float32(prediction["scores"]))
    assert predictor.probabilities([]).shape == (0, 0)
