"""A copy of one of PaddleClas's configurations still names its label list: ImageNet's names are no other network's."""

import pytest

from ppzoo import builders, config
from ppzoo.builders.class_names import list_labels
from ppzoo.errors import ConfigError

OPS = [{"DecodeImage": {}}, {"ResizeImage": {"size": 32}}, {"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]


def labels(file, class_num):
    raw = {
        "Arch": {"name": "LeNet", "class_num": class_num},
        "Infer": {"transforms": OPS, "PostProcess": {"name": "Topk", "topk": 1, "class_id_map_file": str(file)}},
    }
    return list_labels(config.Config.parse(raw, builders.components(), task=None))


def test_the_names_of_imagenet_are_ignored_for_other_classes(caplog):
    assert labels("ppcls/utils/imagenet1k_label_list.txt", 3) == ["0", "1", "2"]
    assert "class_id_map_file: ignoring ppcls/utils/imagenet1k_label_list.txt, which names 1000" in caplog.text
    assert labels("ppcls/utils/imagenet1k_label_list.txt", 1000)[:1] == ["tench, Tinca tinca"]


def test_too_many_names_in_a_file_of_the_user_are_an_error(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("0 cat\n1 dog\n2 fox\n3 owl\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected names of 3 classes"):
        labels(file, 3)
