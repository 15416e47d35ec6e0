"""Weights of a checkpoint are compared with its manifest before they are used."""

import shutil
from pathlib import Path

import pytest

import ppzoo
from ppzoo.errors import CheckpointError, ConfigError

RUN = Path(__file__).parent.parent / "fixtures" / "version_0_1" / "LeNet"


def flip_last_byte(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("suffix", ["", ".pdparams"])
def test_one_flipped_bit_is_an_error(tmp_path, suffix):
    run = shutil.copytree(RUN, tmp_path / "LeNet")
    weights = f"{run / 'latest'}{suffix}"
    ppzoo.create_model("LeNet", pretrained=weights, class_num=10)
    flip_last_byte(run / "latest.pdparams")
    message = (
        r"pretrained: .*latest\.pdparams is damaged: its SHA-256 differs .*delete .*latest\.manifest if you replaced"
    )
    with pytest.raises(CheckpointError, match=message):
        ppzoo.create_model("LeNet", pretrained=weights, class_num=10)


def test_weights_of_an_interrupted_save_are_used(tmp_path):
    """The new weights are in place, their manifest is not yet."""
    run = shutil.copytree(RUN, tmp_path / "LeNet")
    manifest = run / "latest.manifest"
    manifest.rename(run / "latest.new.manifest")
    manifest.write_text((run / "latest.new.manifest").read_text().replace('"sha256": "', '"sha256": "0'))
    ppzoo.create_model("LeNet", pretrained=str(run / "latest"), class_num=10)


def test_an_empty_path_is_an_error():
    with pytest.raises(ConfigError, match=r"^pretrained: expected True, False, or the path or URL of weights, got an"):
        ppzoo.create_model("LeNet", pretrained="")
