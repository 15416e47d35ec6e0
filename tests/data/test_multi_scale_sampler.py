"""MultiScaleSampler: every sample once per epoch, sizes in equal shares, batches of equal pixels, on all processes."""

from collections import Counter

import numpy as np
import pytest
import yaml
from helpers.small_runs import NORMALIZE, paint_class_folders, small_config

from ppzoo import builders
from ppzoo.cli import main
from ppzoo.data import MultiScaleSampler
from ppzoo.errors import ConfigError
from ppzoo.weights import read_pdparams

PADDLECLAS = {"scales": [160, 192, 224, 288, 320], "batch_size": 500}


def sampler(**options):
    return MultiScaleSampler(**{"length": 10_000, "scales": [64, 96, 32], "batch_size": 9, **options})


def epoch(number=0, start=0, **options):
    return list(sampler(**options).batches(number, start))


def sizes_of(batches):
    assert all(len({key[3] for key in batch}) == 1 for batch in batches)
    return [batch[0][3] for batch in batches]


def test_batches_of_all_sizes_have_the_pixels_of_the_first_as_in_paddleclas():
    # int(500 * 160 * 160 / size ** 2), as PaddleClas 2.6 computes it
    assert sampler(**PADDLECLAS).batch_sizes.tolist() == [500, 347, 255, 154, 125]
    rounded = sampler(scales=[100, 70, 40], batch_size=8)
    assert rounded.sizes == [96, 64, 32]
    assert rounded.batch_sizes.tolist() == [8, 19, 78]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 8, 48, 97, 1000, 10_000])
def test_each_sample_occurs_once_per_epoch_and_processes_take_the_same_sizes(length, world_size):
    ranks = [epoch(3, length=length, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == len(sampler(length=length, world_size=world_size))
    for step in zip(*ranks, strict=True):
        assert len({len(batch) for batch in step}) == 1
        assert len({batch[0][3] for batch in step}) == 1
    indices = Counter(key[1] for batches in ranks for batch in batches for key in batch)
    assert sorted(indices) == list(range(length))
    assert sum(indices.values()) - length < world_size  # the padding of the last step


def test_sizes_occur_equally_often_in_an_order_that_changes_from_epoch_to_epoch():
    first, second = sizes_of(epoch(0)), sizes_of(epoch(1))
    counts = Counter(first)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert Counter(second) == counts
    assert first != second


def test_an_epoch_resumes_from_any_step():
    complete = epoch(5, length=500)
    for start in range(len(complete) + 1):
        assert epoch(5, start, length=500) == complete[start:]


def test_the_shorter_last_step_can_be_dropped():
    kept = sampler(length=100, drop_last=True)
    batches = list(kept.batches(0))
    assert len(batches) == len(kept) == len(sampler(length=100)) - 1
    assert all(len(batch) == kept.batch_sizes[batch[0][3]] for batch in batches)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": []}, "scales: expected one or more sizes of at least divided_factor"),
        ({"scales": [224, 31]}, r"scales: expected .* \(32\) pixels, got \[224, 31\]"),
        ({"scales": [64, 13_376]}, "scales: expected at most 178000000 pixels, got 13376 x 13376"),
        ({"divided_factor": 0}, "divided_factor: expected 1 or more, got 0"),
        ({"shuffle": False}, "shuffle: expected True, got False; for one image size, use DistributedBatchSampler"),
        ({"is_training": False}, "is_training: expected True, got False"),
        ({"pad": False}, "MultiScaleSampler: expected training data, got evaluation data"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"length": 8, "drop_last": True}, "drop_last: expected at least one full step of 9 samples, got 8 samples"),
        ({"length": 9, "drop_last": True, "scales": [127]}, "drop_last: expected at least one full step of 15"),
    ],
)
def test_options_out_of_their_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        sampler(**options)


OPS = [{"DecodeImage": {}}, {"RandCropImage": {"size": 32}}, {"RandFlipImage": {}}, NORMALIZE]


@pytest.fixture
def config(tmp_path):
    paint_class_folders(tmp_path / "images", count=12)
    config = small_config(tmp_path, "MobileNetV1_x0_25")
    sampler = {"name": "MultiScaleSampler", "scales": [32, 64], "first_bs": 8, "divided_factor": 32}
    config["DataLoader"]["Train"]["sampler"] = {**sampler, "is_training": True}
    config["DataLoader"]["Train"]["dataset"]["transform_ops"] = OPS
    return config


@pytest.mark.parametrize("workers", [0, 2])
def test_each_batch_has_images_of_its_size(config, workers):
    config["DataLoader"]["Train"]["loader"] = {"num_workers": workers}
    train = builders.read_config(config, [], "train").DataLoader.Train
    loader = builders.build_loader(train, class_num=3, seed=1, training=True)
    found = [(tuple(batch.images.shape), sorted(batch.indices.tolist())) for batch in loader.epoch(0)]
    shapes = Counter(shape for shape, _ in found)
    assert shapes == {(8, 3, 32, 32): 3, (2, 3, 64, 64): 3, (6, 3, 32, 32): 1}
    assert sorted(index for _, indices in found for index in indices) == list(range(36))


def test_a_run_that_resumes_is_bit_identical(config, tmp_path):
    """The sampler names its batch size `first_bs`, as PaddleClas does; the file that the run writes does not."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))

    def train(name, *options):
        output = tmp_path / name
        arguments = ["train", "-c", str(tmp_path / "config.yaml"), "-o", f"Global.output_dir={output}", *options]
        assert main(arguments) == 0
        return output / "MobileNetV1_x0_25"

    run = train("whole", "-o", "Global.epochs=2")
    train("parts")
    other = train("parts", "-o", "Global.epochs=2", "--resume", "auto")
    expected = read_pdparams(run / "latest.pdparams")
    for name, values in read_pdparams(other / "latest.pdparams").items():
        np.testing.assert_array_equal(values, expected[name])
    written = yaml.safe_load((run / "config.yaml").read_text())["DataLoader"]["Train"]["sampler"]
    assert written["batch_size"] == 8
    assert "first_bs" not in written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["DataLoader.Train.dataset.cache=memory"], "DataLoader.Train.dataset.cache: expected none, since the image"),
        (
            ["DataLoader.Train.dataset.transform_ops=[{DecodeImage: {}}]"],
            "DataLoader.Train.dataset.transform_ops: expected RandCropImage, whose size the sampler chooses; add it",
        ),
        (["DataLoader.Train.sampler.scales=[16]"], "DataLoader.Train.sampler.scales: expected one or more sizes of at"),
        (["DataLoader.Train.sampler.scales=[100000]"], "DataLoader.Train.sampler.scales: expected at most 178000000"),
        (["DataLoader.Train.sampler.scales=224"], "DataLoader.Train.sampler.scales: expected a list of integers"),
        (["DataLoader.Train.sampler.batch_size=0"], "DataLoader.Train.sampler.batch_size: expected an integer of at"),
        (
            ["DataLoader.Eval.sampler={name: MultiScaleSampler, scales: [32], batch_size: 4}"],
            "DataLoader.Eval.sampler: MultiScaleSampler: expected training data, got evaluation data",
        ),
    ],
)
def test_check_and_train_report_mistakes_before_anything_is_written(config, tmp_path, capsys, changes, message):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("check", "train"):
        options = [option for change in changes for option in ("-o", change)]
        assert main([command, "-c", str(tmp_path / "config.yaml"), *options]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


def test_check_tries_the_network_with_the_smallest_size(config, tmp_path, capsys):
    config["Arch"]["name"] = "SqueezeNet1_0"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = ["-o", "DataLoader.Train.sampler.scales=[32, 8]", "-o", "DataLoader.Train.sampler.divided_factor=8"]
    assert main(["check", "-c", str(tmp_path / "config.yaml"), *options]) == 2
    assert "DataLoader.Train.sampler.scales" in capsys.readouterr().err
