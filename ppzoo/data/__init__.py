"""Datasets, transforms, samplers and worker processes: from image files to batches.

Only `ppzoo.data.loader`, which makes tensors, imports PaddlePaddle.
"""

from ppzoo.data.batch_transforms import BATCH_TRANSFORMS, BatchTransform
from ppzoo.data.cache import CachedImages
from ppzoo.data.class_names import format_names, match_classes, normalize_names
from ppzoo.data.dataset_report import DatasetReport, imbalance_warning, inspect_dataset, shared_images
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
    describe_skipped,
    iter_images,
)
from ppzoo.data.fold_groups import groups_of_paths
from ppzoo.data.folds import DESCRIPTION, FOLD, Folds, FoldsFolder, read_folds, write_folds
from ppzoo.data.image_formats import IMAGE_SUFFIXES
from ppzoo.data.index import PathIndex, index_paths, read_list
from ppzoo.data.label_files import LABEL_LIST, is_shipped_list, read_labels
from ppzoo.data.label_sources import check_label_source, check_transform_label, is_list_without_names
from ppzoo.data.overlap import find_shared_images
from ppzoo.data.readability import find_unreadable
from ppzoo.data.samplers import SAMPLERS, DistributedBatchSampler, Sampler, require_evaluation_sampler
from ppzoo.data.samples import Sample, Samples
from ppzoo.data.split import TRAIN_LIST, VAL_LIST, Split, split_folder, write_split
from ppzoo.data.table_lists import FIXES_WITHOUT_CONFIG, is_table, read_columns, read_table
from ppzoo.data.training_samplers import (
    ClassBalancedSampler,
    MultiScaleSampler,
    RepeatedAugSampler,
    WeightedRandomSampler,
)
from ppzoo.data.transforms import CORNERS, TRANSFORMS, Compose, Transform

__all__ = [
    "BATCH_TRANSFORMS",
    "CIFAR10",
    "CIFAR100",
    "CORNERS",
    "DATASETS",
    "DESCRIPTION",
    "FIXES_WITHOUT_CONFIG",
    "FOLD",
    "IMAGE_SUFFIXES",
    "LABEL_LIST",
    "SAMPLERS",
    "TRAIN_LIST",
    "TRANSFORMS",
    "VAL_LIST",
    "BatchTransform",
    "CachedImages",
    "ClassBalancedSampler",
    "Compose",
    "Dataset",
    "DatasetReport",
    "DistributedBatchSampler",
    "FashionMNIST",
    "Flowers102",
    "Folds",
    "FoldsFolder",
    "ImageFolder",
    "ImageNetDataset",
    "MultiLabelDataset",
    "MultiScaleSampler",
    "PathIndex",
    "RepeatedAugSampler",
    "Sample",
    "Sampler",
    "Samples",
    "Split",
    "TarShards",
    "Transform",
    "WeightedRandomSampler",
    "check_label_source",
    "check_transform_label",
    "describe_skipped",
    "find_shared_images",
    "find_unreadable",
    "format_names",
    "groups_of_paths",
    "imbalance_warning",
    "index_paths",
    "inspect_dataset",
    "is_list_without_names",
    "is_shipped_list",
    "is_table",
    "iter_images",
    "match_classes",
    "normalize_names",
    "read_columns",
    "read_folds",
    "read_labels",
    "read_list",
    "read_table",
    "require_evaluation_sampler",
    "shared_images",
    "split_folder",
    "write_folds",
    "write_split",
]
