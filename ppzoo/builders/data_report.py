"""Report on the training and evaluation data of a configuration."""

from __future__ import annotations

from collections.abc import Iterator

from ppzoo import data
from ppzoo.builders.class_checks import describe_data, require_two_classes
from ppzoo.builders.class_names import add_classes_of_data, find_training_names
from ppzoo.builders.component_factory import class_count
from ppzoo.builders.datasets import EVAL_DATA, TRAIN_DATA, build_dataset
from ppzoo.config import Config
from ppzoo.errors import DataError


def inspect_data(config: Config) -> Iterator[tuple[str, bool]]:
    """Read each training and evaluation image once; yield findings as text, each with False for a mistake."""
    config = add_classes_of_data(config)
    class_num, names = class_count(config.Arch), find_training_names(config)
    found = []
    for key, split in ((TRAIN_DATA, config.DataLoader.Train), (EVAL_DATA, config.DataLoader.Eval)):
        if split is None:
            continue
        name = key.removesuffix(".dataset")
        images = build_dataset(split.dataset, class_num=None)
        try:
            images = data.match_classes(images, names) if names and images.classes else images
            if key == TRAIN_DATA:
                names = names or images.classes
                require_two_classes(images)
        except DataError as error:
            yield f"{name}: {error}", False
        found.append(data.inspect_dataset(images, name=name, class_num=class_num))
        yield found[-1].text(), found[-1].is_sound
        for _, text in describe_data(key, images, class_num):
            yield text, True
    for training, evaluation in data.shared_images(*found) if len(found) == 2 else []:
        yield f"the same image is in the training and the evaluation data: {training} and {evaluation}", False
