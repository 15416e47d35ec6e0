"""`ppzoo check` finds that tables lack the columns, and shards the keys, of the labels."""

import io
import tarfile

import pytest
import yaml
from helpers.small_runs import OPS, small_config

from ppzoo.cli import main


def check(folder, dataset):
    config = small_config(folder, "MobileNetV1_x0_25")
    config["DataLoader"]["Train"]["dataset"] = {"image_root": str(folder), "transform_ops": OPS, **dataset}
    del config["DataLoader"]["Eval"]
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return main(["check", "-c", str(file)])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"label_column": "kind"}, "expected a column of labels 'kind', got the columns 'file', 'label': set dataset"),
        ({"path_column": "image"}, "expected a column of paths 'image', got the columns 'file', 'label': set dataset"),
        ({}, None),
    ],
)
def test_columns_of_a_table(tmp_path, capsys, options, complaint):
    table = tmp_path / "list.csv"
    table.write_text("file,label\na.png,0\n")
    status = check(tmp_path, {"name": "ImageNetDataset", "cls_label_path": str(table), **options})
    error = capsys.readouterr().err
    assert status == (0 if complaint is None else 2)
    if complaint is not None:
        assert f"DataLoader.Train.dataset: {table}: {complaint}" in error
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(("key", "status"), [("kind", 0), ("label", 2)])
def test_keys_of_records_in_shards(tmp_path, capsys, key, status):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in {"1.jpg": b"image", "1.json": b'{"kind": 1}'}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert check(tmp_path, {"name": "TarShards", "label_member": "json", "label_key": key}) == status
    error = capsys.readouterr().err
    if status:
        assert "DataLoader.Train.dataset: " in error
        assert "under the key 'label', got 'kind': set dataset.label_key" in error
