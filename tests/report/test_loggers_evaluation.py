"""Records of an evaluation equal a direct computation, also if several processes share the data."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppzoo.report.loggers.base import PRCurve
from ppzoo.report.loggers.evaluation_record import THRESHOLDS, WRONG_IMAGES, EvaluationRecord
from ppzoo.report.loggers.pictures import SIDE, Tile, draw_confusion_matrix, draw_tiles

CLASSES, IMAGES = 4, 90


def make_record(**options):
    return EvaluationRecord(
        **{
            "class_num": CLASSES,
            "multi_label": False,
            "select": lambda output: output,
            "to_pixels": to_pixels,
            **options,
        }
    )


def to_pixels(image):
    return image.transpose(1, 2, 0).astype(np.uint8)


def make_data(seed=0, classes=CLASSES):
    """Return logits, labels and images whose pixels are their index."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((IMAGES, classes)).astype("float32")
    return logits, random.integers(0, classes, IMAGES)


def add(record, logits, labels, chosen):
    indices = np.asarray(chosen)
    images = np.broadcast_to(indices[:, None, None, None], (len(indices), 3, 2, 2)).astype("float32")
    batch = SimpleNamespace(
        images=paddle.to_tensor(images), labels=paddle.to_tensor(labels[indices]), indices=paddle.to_tensor(indices)
    )
    record.update(paddle.to_tensor(logits[indices]), batch)


def softmax(logits):
    values = np.exp(logits.astype("float64"))
    return values / values.sum(axis=1, keepdims=True)


@pytest.fixture
def record():
    found = make_record()
    logits, labels = make_data()
    for start in range(0, IMAGES, 32):
        add(found, logits, labels, range(start, min(start + 32, IMAGES)))
    return found


def test_the_confusion_matrix_counts_all_images(record):
    logits, labels = make_data()
    predicted = logits.argmax(axis=1)
    expected = [
        [np.sum((labels == row) & (predicted == column)) for column in range(CLASSES)] for row in range(CLASSES)
    ]
    np.testing.assert_array_equal(record.matrix, expected)


def test_the_wrong_images_are_the_most_confident_ones(record):
    logits, labels = make_data()
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    wrong = sorted(np.flatnonzero(predicted != labels), key=lambda index: -probabilities[index].max())
    assert len(wrong) > WRONG_IMAGES
    found = record.most_wrong()
    assert [image.index for image in found] == wrong[:WRONG_IMAGES]
    for image in found:
        assert (image.label, image.predicted) == (labels[image.index], predicted[image.index])
        assert image.probability == pytest.approx(probabilities[image.index].max(), rel=1e-5)
        assert (image.pixels == image.index).all()


def test_only_images_that_are_kept_are_converted():
    logits, labels = make_data()
    converted = []
    record = make_record(to_pixels=lambda image: converted.append(image[0, 0, 0]) or to_pixels(image))
    add(record, logits, labels, range(IMAGES))
    assert sorted(converted) == sorted(image.index for image in record.wrong) and len(converted) == WRONG_IMAGES
    add(record, logits / 100, labels, range(IMAGES))  # less confident
    assert len(converted) == WRONG_IMAGES


def test_the_curves_are_those_of_each_threshold(record):
    logits, labels = make_data()
    probabilities = softmax(logits)
    curves = record.curves()
    assert set(curves) == {None, *range(CLASSES)}
    for index in range(CLASSES):
        for number in range(0, THRESHOLDS, 7):
            positive = probabilities[:, index] >= number / (THRESHOLDS - 1)
            tp, fp = np.sum(positive & (labels == index)), np.sum(positive & (labels != index))
            curve = curves[index]
            assert (curve.tp[number], curve.fp[number]) == (tp, fp)
            assert curve.precision[number] == pytest.approx(tp / (tp + fp) if tp + fp else 1.0)
            assert curve.recall[number] == pytest.approx(tp / np.sum(labels == index))
            assert curve.tp[number] + curve.fp[number] + curve.tn[number] + curve.fn[number] == IMAGES
    np.testing.assert_array_equal(curves[None].tp, sum(curves[index].tp for index in range(CLASSES)))


def test_processes_together_have_the_record_of_one(record):
    logits, labels = make_data()
    shares = [make_record(), make_record()]
    for rank, share in enumerate(shares):
        add(share, logits, labels, range(rank, IMAGES, 2))
    merged = make_record()
    merged.merge([share.state() for share in shares])
    np.testing.assert_array_equal(merged.matrix, record.matrix)
    np.testing.assert_array_equal(merged.positive, record.positive)
    np.testing.assert_array_equal(merged.negative, record.negative)
    assert [image.index for image in merged.most_wrong()] == [image.index for image in record.most_wrong()]


def test_a_second_evaluation_starts_over(record):
    record.reset()
    assert not record.matrix.any() and not record.positive.any() and not record.most_wrong()


def test_labels_that_are_ignored_do_not_count():
    logits, labels = make_data()
    labels = np.where(np.arange(IMAGES) < 30, -1, labels)
    found = make_record()
    add(found, logits, labels, range(IMAGES))
    assert found.matrix.sum() == IMAGES - 30
    assert min(image.index for image in found.most_wrong()) >= 30


def test_several_labels_per_image_have_curves_of_their_known_labels():
    random = np.random.default_rng(1)
    logits = random.standard_normal((IMAGES, CLASSES)).astype("float32")
    labels = random.integers(-1, 2, (IMAGES, CLASSES)).astype("float32")
    found = make_record(multi_label=True)
    add(found, logits, labels, range(IMAGES))
    assert found.matrix is None and not found.most_wrong()
    curve, number = found.curves()[2], 63
    positive = 1 / (1 + np.exp(-logits[:, 2].astype("float64"))) >= number / (THRESHOLDS - 1)
    assert curve.tp[number] == np.sum(positive & (labels[:, 2] == 1))
    assert curve.fp[number] == np.sum(positive & (labels[:, 2] == 0))


def test_many_classes_have_one_curve_and_no_matrix_beyond_a_thousand():
    logits, labels = make_data(classes=1001)
    found = make_record(class_num=1001)
    add(found, logits, labels, range(IMAGES))
    assert found.matrix is None
    assert set(found.curves()) == {None}
    assert found.curves()[None].tp[0] == IMAGES


NAMES = ["cat", "a much longer name than fits next to the matrix, by far", "猫\n犬", "<script>\x1b[31m", "", "Ω é א"]


@pytest.mark.parametrize("count", [1, 2, 6, 16, 41, 900])
def test_a_confusion_matrix_of_any_size_is_drawn(count):
    matrix = np.diag(np.full(count, 7))
    picture = draw_confusion_matrix(matrix, [NAMES[index % len(NAMES)] for index in range(count)])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and max(picture.shape) < 1100
    blue = (picture == [8, 81, 156]).all(axis=2).sum()
    cell = 44 if count <= 15 else 20 if count <= 40 else max(1, 800 // count)
    assert 0.4 * count * cell**2 < blue <= count * cell**2


def test_names_change_the_picture_and_empty_classes_do_not_fail():
    matrix = np.array([[0, 0], [1, 2]])
    first, second = (draw_confusion_matrix(matrix, names) for names in (["a", "b"], ["a", "c"]))
    assert first.shape == second.shape and (first != second).any()


@pytest.mark.parametrize("shape", [(28, 28), (1, 300), (224, 100)])
def test_images_of_any_shape_are_drawn_in_rows_of_eight(shape):
    tile = Tile(np.full((*shape, 3), 9, np.uint8), NAMES[:3])
    picture = draw_tiles([tile] * 11)
    assert 8 * SIDE < picture.shape[1] < 9 * SIDE and 2 * SIDE < picture.shape[0] < 3.5 * SIDE
    assert (picture == 9).all(axis=2).sum() >= 11 * min(SIDE * max(1, round(shape[0] * SIDE / max(shape))), 128)


def test_curves_end_at_a_precision_of_one():
    """As in scikit-learn; a precision of 0 would be drawn as a line to the origin."""
    curve = PRCurve(tp=np.array([2, 1, 0]), fp=np.array([2, 0, 0]), tn=np.array([0, 2, 2]), fn=np.array([0, 1, 2]))
    assert curve.precision.tolist() == [0.5, 1.0, 1.0] and curve.recall.tolist() == [1.0, 0.5, 0.0]


def test_the_class_of_a_mixed_image_is_its_most_probable_one(record):
    """Evaluations of mixed images, as with Mixup in `DataLoader.Eval`, have a probability for each class."""
    logits, labels = make_data()
    mixed = make_record()
    add(mixed, logits, (0.7 * np.eye(CLASSES)[labels] + 0.3 / CLASSES).astype("float32"), range(IMAGES))
    np.testing.assert_array_equal(mixed.matrix, record.matrix)
    assert [image.index for image in mixed.most_wrong()] == [image.index for image in record.most_wrong()]
