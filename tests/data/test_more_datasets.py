"""Multi-label lists, CIFAR archives, Flowers102 and tar shards: samples and error messages."""

import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from ppzoo.data import CIFAR10, CIFAR100, Compose, Flowers102, MultiLabelDataset, Samples, TarShards
from ppzoo.data.batch_reader import BatchId, BatchReader, BatchRequest
from ppzoo.data.datasets import cifar
from ppzoo.data.transforms import DecodeImage
from ppzoo.errors import ConfigError, DataError


def png(value=0):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def multi_label(tmp_path, text, **options):
    (tmp_path / "list.txt").write_text(text)
    return MultiLabelDataset(image_root=str(tmp_path), cls_label_path=str(tmp_path / "list.txt"), **options)


def test_an_image_can_have_several_labels(tmp_path):
    for name in ("a b.png", "c.png"):
        (tmp_path / name).write_bytes(png())
    data = multi_label(tmp_path, "\na b.png\t0,1,1\r\nc.png 1,-1,0\n", class_num=3)
    assert data.labels.tolist() == [[0, 1, 1], [1, -1, 0]]
    image, label = data[0]
    assert image == png()
    assert (label.dtype, label.tolist()) == (np.float32, [0.0, 1.0, 1.0])
    samples = Samples(data, Compose([DecodeImage()]), 0)
    _, labels, indices = BatchReader(samples, [], "raise")(BatchRequest(BatchId(0, 0, 0), [(0, 0), (0, 1)])).arrays
    assert (labels.shape, labels.dtype, indices.tolist()) == ((2, 3), np.float32, [0, 1])
    (tmp_path / "c.png").unlink()
    with pytest.raises(DataError, match=r"c\.png.*list\.txt, line 3"):
        data[1]


def test_label_ratios_are_returned_on_request(tmp_path):
    data = multi_label(tmp_path, "a.png\t0,1\nb.png\t0,-1\nc.png\t1,1\nd.png\t0,1\n", label_ratio=True)
    np.testing.assert_array_equal(data.label(1), np.array([[0, -1], [0.25, 1.0]], np.float32))  # -1 does not count


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a.png\t0,1\nb.png\t0,1,1\n", r"line 2: expected 2 values \(the first line\), got 3"),
        ("a.png\t0,2\n", "line 1: expected .*values 0, 1 or -1"),
        ("\na.png\n", "line 2"),
        ("0,1\n", "line 1"),
        ("a.png\t0,,1\n", "line 1"),
        ("\n\n", "lists no images"),
        ("a.png\t-1,-1\nb.png\t-1,-1\n", r"list\.txt: expected labels of 0 or 1, got only -1"),
    ],
)
def test_an_invalid_line_is_reported(tmp_path, text, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        multi_label(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_the_number_of_values_must_equal_class_num(tmp_path):
    with pytest.raises(DataError, match=r"line 1: expected 4 values \(Arch\.class_num\), got 2"):
        multi_label(tmp_path, "a.png\t0,1\n", class_num=4)
    with pytest.raises(DataError, match="cls_label_path"):
        MultiLabelDataset(image_root=str(tmp_path), cls_label_path="none.txt")


def test_spaces_around_the_commas_between_labels_are_ignored(tmp_path):
    for name in ("a, b.png", "c.png"):
        (tmp_path / name).write_bytes(png())
    data = multi_label(tmp_path, "a, b.png\t0, 1 ,1\nc.png\t1 , -1, 0\n", class_num=3)
    assert data.labels.tolist() == [[0, 1, 1], [1, -1, 0]]
    assert data[1][0] == png()


class PythonTwo(pickle._Pickler):
    """Writes text and bytes as the strings of Python 2, which CIFAR's archives contain."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin-1") if isinstance(value, str) else value
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python_two(value):
    file = io.BytesIO()
    PythonTwo(file, 2).dump(value)
    return file.getvalue()


def cifar_files(kind=CIFAR10, per_part=7):
    random = np.random.default_rng(0)
    meta, key = kind.names_location
    files = {meta: python_two({key: [f"class {index}" for index in range(kind.count)]})}
    for part in (*kind.parts["train"], *kind.parts["test"]):
        labels = random.integers(0, kind.count, per_part).tolist()
        images = random.integers(0, 256, (per_part, 3072), dtype=np.uint8)
        files[part] = python_two({kind.label_key: labels, "data": images, "filenames": ["x.png"] * per_part})
    return files


def cifar_archive(path, kind=CIFAR10, files=None):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (files or cifar_files(kind)).items():
            member = tarfile.TarInfo(f"{kind.folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize(("kind", "train"), [(CIFAR10, 35), (CIFAR100, 7)])
def test_cifar_is_read_from_its_archive_and_from_a_folder(tmp_path, kind, train):
    archive = cifar_archive(tmp_path / "cifar.tar.gz", kind)
    data = kind(data_file=archive, class_num=kind.count)
    assert (len(data), len(kind(data_file=archive, mode="test"))) == (train, 7)
    first = pickle.loads(cifar_files(kind)[kind.parts["train"][0]], encoding="latin-1")
    image, label = data[3]
    assert label == first[kind.label_key][3]
    np.testing.assert_array_equal(image, first["data"][3].reshape(3, 32, 32).transpose(1, 2, 0))
    assert data.classes[5] == "class 5"
    assert data.describe(3) == f"sample 3 of {kind.__name__} (train)"
    for name, content in cifar_files(kind).items():
        (tmp_path / kind.folder).mkdir(exist_ok=True)
        (tmp_path / kind.folder / name).write_bytes(content)
    for folder in (tmp_path, tmp_path / kind.folder):
        np.testing.assert_array_equal(kind(data_file=str(folder)).images, data.images)


def test_cifar_is_read_from_paddlepaddles_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz.*paddle\.vision\.datasets\.Cifar10\(\)"):
        CIFAR10()
    (tmp_path / ".cache" / "paddle" / "dataset" / "cifar").mkdir(parents=True)
    cifar_archive(tmp_path / ".cache" / "paddle" / "dataset" / "cifar" / "cifar-10-python.tar.gz")
    assert len(CIFAR10(mode="test")) == 7


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_a_hostile_archive_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = cifar_files()
    files["test_batch"] = pickle.dumps({"data": Harmful()}, 2)
    with pytest.raises(DataError, match=r"test_batch is refused: it calls posix\.mkdir"):
        CIFAR10(data_file=cifar_archive(tmp_path / "c.tar.gz", files=files), mode="test")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"test_batch": None},
        {"test_batch": python_two({"labels": [1, 2], "data": np.zeros((3, 3072), np.uint8)})},
        {"test_batch": python_two({"labels": [1, 10], "data": np.zeros((2, 3072), np.uint8)})},
        {"test_batch": python_two({"labels": [1, 2], "data": np.zeros((2, 3072), np.float32)})},
        {"test_batch": python_two([1, 2])},
        {"batches.meta": python_two({"label_names": ["one"]})},
        {"batches.meta": python_two({"label_names": list(range(10))})},
        {"test_batch": b"\x80\x02"},
    ],
)
def test_an_archive_that_is_not_cifars_is_rejected(tmp_path, change):
    files = {name: content for name, content in (cifar_files() | change).items() if content is not None}
    with pytest.raises(DataError, match="again") as caught:
        CIFAR10(data_file=cifar_archive(tmp_path / "c.tar.gz", files=files), mode="test")
    assert "\n" not in str(caught.value)


def test_a_truncated_archive_and_invalid_options_are_rejected(tmp_path):
    archive = tmp_path / "c.tar.gz"
    cifar_archive(archive)
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(DataError, match="download it again"):
        CIFAR10(data_file=str(archive))
    with pytest.raises(ConfigError, match="mode"):
        CIFAR10(data_file=str(archive), mode="val")
    with pytest.raises(DataError, match="10 classes, but class_num is 5"):
        CIFAR10(data_file=str(archive), class_num=5)


def hostile_cifar(path, *members):
    """Write an archive with false headers; each member is (name, changes of its header, content)."""
    with gzip.open(path, "wb") as archive:
        for name, changes, content in members:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.write(member.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
    return str(path)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("a", {"size": 1 << 60}, b"")], "truncated file"),
        ([("batches.meta", {"size": 10_000}, b"\x80\x02}")], "truncated file"),
        (
            [("batches.meta", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, b"")],
            "expected a member .*, got none",
        ),
        ([("batches.meta", {"type": tarfile.GNUTYPE_SPARSE}, b"")], "expected a member .*, got none"),
        ([("a", {"type": tarfile.XHDTYPE}, b"1" * 300_000)], "extension header too long"),
        ([("a", {}, bytes(500_000))], "more than 400000 bytes when unpacked"),
    ],
)
def test_an_archive_with_false_headers_is_rejected(tmp_path, monkeypatch, members, complaint):
    monkeypatch.setattr(cifar, "MAX_BYTES", 400_000)
    with pytest.raises(DataError, match=complaint):
        CIFAR10(data_file=hostile_cifar(tmp_path / "c.tar.gz", *members), mode="test")


def test_an_unpacked_file_that_is_too_large_is_rejected(tmp_path):
    for name, content in cifar_files().items():
        (tmp_path / name).write_bytes(content)
    os.truncate(tmp_path / "test_batch", cifar.MAX_BYTES + 1)
    with pytest.raises(DataError, match=f"at most {cifar.MAX_BYTES} bytes"):
        CIFAR10(data_file=str(tmp_path), mode="test")


def test_flowers_are_read_from_their_lists(tmp_path):
    (tmp_path / "jpg").mkdir()
    (tmp_path / "jpg" / "image_00001.jpg").write_bytes(png())
    (tmp_path / "val_list.txt").write_text("jpg/image_00001.jpg 76\n")
    data = Flowers102(image_root=str(tmp_path), mode="val", class_num=102)
    assert (len(data), data[0], data.classes) == (1, (png(), 76), None)
    (tmp_path / "flowers102_label_list.txt").write_text("76 passion flower\n")
    assert Flowers102(image_root=str(tmp_path), mode="val").classes[75:77] == ["75", "passion flower"]
    (tmp_path / "train_list.txt").write_text("jpg/image_00001.jpg 102\n")
    with pytest.raises(DataError, match=r"train_list\.txt, line 1: label 102 is outside \[0, class_num = 102\)"):
        Flowers102(image_root=str(tmp_path))
    with pytest.raises(ConfigError, match="at least 102, got 10"):
        Flowers102(image_root=str(tmp_path), mode="val", class_num=10)


def shard(path, members, kind=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = content
                archive.addfile(member)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_shards_are_read_in_order_wherever_their_labels_are(tmp_path, kind):
    long = "folder/" + "x" * 90
    shard(tmp_path / "b.tar", [("2.jpg", png(2)), ("2.cls", b"7\n"), ("2.json", b"{}")], kind)
    shard(
        tmp_path / "a.tar",
        [
            ("folder", (tarfile.DIRTYPE, "")),
            *((f"{long}.cls", b" 3"), ("1.PNG", png(1)), (f"{long}.png", png(9)), ("1.cls", b"0")),
        ],
        kind,
    )
    (tmp_path / "notes.txt").write_text("no shard")
    data = TarShards(image_root=str(tmp_path), class_num=8)
    assert data.labels.tolist() == [0, 3, 7]
    assert [data[index] for index in range(3)] == [(png(1), 0), (png(9), 3), (png(2), 7)]
    assert data.describe(2) == f"{tmp_path / 'b.tar'}: 2.jpg"
    with pytest.raises(DataError, match=r"b\.tar: label 7 of '2\.jpg' is outside \[0, class_num = 7\)"):
        TarShards(image_root=str(tmp_path), class_num=7)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("1.jpg", b"x")], "'1.cls', got only one of the two"),
        ([("1.cls", b"1")], "'1.cls', got only one of the two"),
        ([("1.jpg", b"x"), ("1.cls", b"\xff")], "class index or name in '1.cls', as UTF-8 text"),
        ([("1.jpg", b"x"), ("1.cls", b"-1")], "class index or name in '1.cls'"),
        ([("1.jpg", b"x"), ("1.cls", b"1" * 40)], "class index or name in '1.cls'"),
        ([("1.jpg", b"x"), ("1.png", b"x"), ("1.cls", b"1")], "occurs twice"),
        ([("1.jpg", b"x"), ("1.cls", b"1"), ("1.cls", b"2")], "occurs twice"),
        ([("/etc/1.jpg", b"x"), ("1.cls", b"1")], "outside of the shard"),
        ([("a/../../1.jpg", b"x"), ("1.cls", b"1")], "outside of the shard"),
        ([("1.jpg", (tarfile.SYMTYPE, "/etc/passwd")), ("1.cls", b"1")], "which is a link"),
        ([("1.jpg", (tarfile.LNKTYPE, "2.jpg")), ("1.cls", b"1")], "which is a link"),
        ([("1.jpg", (tarfile.CHRTYPE, "")), ("1.cls", b"1")], "which is a link"),
        ([("notes.txt", b"x")], "have no images"),
    ],
)
def test_invalid_and_hostile_shards_are_rejected(tmp_path, members, complaint):
    shard(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=complaint) as caught:
        TarShards(image_root=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_shards_raise_only_data_errors(tmp_path):
    shard(tmp_path / "a.tar", [(f"{index}.{suffix}", png() if suffix == "png" else b"1") for index in range(4)
                               for suffix in ("png", "cls")])  # fmt: skip
    complete = bytearray((tmp_path / "a.tar").read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(400):
        broken = bytearray(complete)
        if trial % 4:
            for place in random.integers(0, 5120, 3):
                broken[place] = random.integers(256)
        else:
            del broken[int(random.integers(1, 6000)) :]
        (tmp_path / "a.tar").write_bytes(broken)
        try:
            TarShards(image_root=str(tmp_path))
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
    (tmp_path / "a.tar").write_bytes(b"\x1f\x8b" + bytes(2000))
    with pytest.raises(DataError, match="an uncompressed tar file"):
        TarShards(image_root=str(tmp_path))


def test_a_member_with_a_negative_size_is_rejected(tmp_path):
    shard(tmp_path / "a.tar", [("1.png", png()), ("1.cls", b"1")])
    complete = bytearray((tmp_path / "a.tar").read_bytes())
    complete[124:136] = b"\xff" + (-1024).to_bytes(11, "big", signed=True)
    complete[148:156] = b" " * 8
    complete[148:156] = b"%06o\0 " % sum(complete[:512])
    (tmp_path / "a.tar").write_bytes(complete)
    with pytest.raises(DataError):
        TarShards(image_root=str(tmp_path))


def test_a_shard_that_shrinks_or_disappears_is_reported(tmp_path):
    shard(tmp_path / "a.tar", [("1.png", png()), ("1.cls", b"1")])
    data = TarShards(image_root=str(tmp_path))
    os.truncate(tmp_path / "a.tar", 530)
    with pytest.raises(DataError, match=r"a\.tar: 1\.png.*shorter"):
        data[0]
    (tmp_path / "a.tar").unlink()
    with pytest.raises(DataError, match="restore the shard"):
        data[0]
    with pytest.raises(DataError, match=r"no \.tar files"):
        TarShards(image_root=str(tmp_path))
