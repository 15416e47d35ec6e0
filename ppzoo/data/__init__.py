"""From image files to batches: index, datasets, transforms, samples, samplers; `ppzoo.data.loader` makes tensors.

Nothing here but `ppzoo.data.loader` imports PaddlePaddle.
"""

from ppzoo.data.balance import ClassBalancedSampler, WeightedRandomSampler
from ppzoo.data.batch_transforms import BATCH_TRANSFORMS, BatchTransform
from ppzoo.data.class_names import listing, match_classes, normalized
from ppzoo.data.dataset_report import Inspection, imbalance, inspect_dataset, leaks
from ppzoo.data.datasets import (
    CIFAR10,
    CIFAR100,
    DATASETS,
    Dataset,
    FashionMNIST,
    Flowers102,
    ImageFolder,
    ImageNetDataset,
    MultiLabelDataset,
    TarShards,
    images_below,
    skipped_text,
)
from ppzoo.data.image_formats import IMAGE_SUFFIXES
from ppzoo.data.index import PathIndex, index_paths, read_list
from ppzoo.data.label_files import read_labels
from ppzoo.data.samplers import SAMPLERS, DistributedBatchSampler, Sampler
from ppzoo.data.samples import Sample, Samples
from ppzoo.data.split import TRAIN_LIST, VAL_LIST, Split, split_folder, write_split
from ppzoo.data.transforms import CORNERS, TRANSFORMS, Compose, Transform
from ppzoo.data.verify import unreadable

__all__ = [
    "BATCH_TRANSFORMS",
    "CIFAR10",
    "CIFAR100",
    "CORNERS",
    "DATASETS",
    "IMAGE_SUFFIXES",
    "SAMPLERS",
    "TRAIN_LIST",
    "TRANSFORMS",
    "VAL_LIST",
    "BatchTransform",
    "ClassBalancedSampler",
    "Compose",
    "Dataset",
    "DistributedBatchSampler",
    "FashionMNIST",
    "Flowers102",
    "ImageFolder",
    "ImageNetDataset",
    "Inspection",
    "MultiLabelDataset",
    "PathIndex",
    "Sample",
    "Sampler",
    "Samples",
    "Split",
    "TarShards",
    "Transform",
    "WeightedRandomSampler",
    "images_below",
    "imbalance",
    "index_paths",
    "inspect_dataset",
    "leaks",
    "listing",
    "match_classes",
    "normalized",
    "read_labels",
    "read_list",
    "skipped_text",
    "split_folder",
    "unreadable",
    "write_split",
]
