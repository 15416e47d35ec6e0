"""`convert` writes weights of any origin for one architecture."""

import numpy as np
import pytest
from helpers import recorded_weights as recorded

from ppzoo.convert import convert
from ppzoo.errors import ConfigError, UnknownNameError, WeightsError
from ppzoo.models import MODELS
from ppzoo.weights import load_weights, read, save_pdparams, save_safetensors


@pytest.fixture(scope="module")
def shufflenet(tmp_path_factory):
    """A file with torchvision's names, ten classes and float16 values."""
    file = tmp_path_factory.mktemp("torch") / "shufflenet.safetensors"
    arrays = recorded.weights(recorded.record("torchvision-shufflenet_v2_x0_5")["layers"])
    save_safetensors({name: a if a.dtype.kind == "i" else a.astype(np.float16) for name, a in arrays.items()}, file)
    return file


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_target_has_the_number_of_classes_of_the_source(shufflenet, tmp_path, suffix):
    target = tmp_path / f"ours{suffix}"
    report = convert(shufflenet, target, "ShuffleNetV2_x0_5")
    assert (report.origin, report.class_num, report.notes) == ("torchvision", 10, ())
    network = MODELS["ShuffleNetV2_x0_5"].build(class_num=10)
    assert load_weights(network, target, head="strict").complete
    source = read(shufflenet).arrays
    np.testing.assert_array_equal(network._fc.weight.numpy(), source["fc.weight"].T.astype(np.float32))
    if suffix == ".safetensors":
        assert read(target).metadata["architecture"] == "ShuffleNetV2_x0_5"
        assert read(target).metadata["class_num"] == "10"


def test_paddlepaddle_weights_are_copied_unchanged(tmp_path):
    network = MODELS["MobileNetV1_x0_25"].build(class_num=3)
    save_pdparams(network.state_dict(), tmp_path / "in.pdparams")
    report = convert(tmp_path / "in", tmp_path / "out.safetensors", "MobileNetV1_x0_25")
    assert (report.origin, report.class_num) == ("paddleclas", 3)
    written = read(tmp_path / "out.safetensors").arrays
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(written[key], value.numpy())


def test_weights_with_parameter_names_keep_their_number_of_classes(tmp_path):
    state = MODELS["MobileNetV2_x0_25"].build(class_num=3).state_dict()
    np.savez(tmp_path / "old.npz", **{value.name: value.numpy() for value in state.values()})
    report = convert(tmp_path / "old.npz", tmp_path / "new.pdparams", "MobileNetV2_x0_25")
    assert report.class_num == 3
    assert list(read(tmp_path / "new.pdparams").arrays) == list(state)


def test_failed_conversion_writes_no_file(shufflenet, tmp_path):
    target = tmp_path / "ours.pdparams"
    with pytest.raises(WeightsError, match="the weights look like those of ShuffleNetV2_x0_5"):
        convert(shufflenet, target, "ShuffleNetV2_x1_0")
    with pytest.raises(WeightsError, match="has ReLU activations"):
        convert(shufflenet, target, "ShuffleNetV2_swish")
    with pytest.raises(UnknownNameError, match="ShuffleNetV2_x0_5"):
        convert(shufflenet, target, "ShuffleNetV2_x05")
    with pytest.raises(ConfigError, match=r"ends in .pdparams or .safetensors"):
        convert(shufflenet, tmp_path / "ours.pth", "ShuffleNetV2_x0_5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_for_images_of_other_channels(channels, shufflenet, tmp_path):
    network = MODELS["MobileNetV1_x0_25"].build(class_num=3, in_channels=channels)
    save_pdparams(network.state_dict(), tmp_path / "in.pdparams")
    report = convert(tmp_path / "in", tmp_path / "out.pdparams", "MobileNetV1_x0_25")
    assert "set Arch.in_channels" in str(report)
    assert load_weights(network, tmp_path / "out.pdparams", head="strict", stem="strict").complete
    arrays = dict(read(shufflenet).arrays)
    kernel = arrays["conv1.0.weight"]
    arrays["conv1.0.weight"] = np.repeat(kernel[:, :1], channels, axis=1).astype(np.float32)
    save_safetensors(arrays, tmp_path / "torch.safetensors")
    convert(tmp_path / "torch.safetensors", tmp_path / "ours.pdparams", "ShuffleNetV2_x0_5")
    network = MODELS["ShuffleNetV2_x0_5"].build(class_num=10, in_channels=channels)
    assert load_weights(network, tmp_path / "ours.pdparams", head="strict", stem="strict").complete
    np.testing.assert_array_equal(network._conv1._conv.weight.numpy(), arrays["conv1.0.weight"])
