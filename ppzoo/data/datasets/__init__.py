"""Datasets: each returns an encoded or decoded image and its label by index.

Constructors check everything that can be checked without reading every image, so that mistakes are reported before
training starts.
"""

from ppzoo.data.datasets.base import DATASETS, Dataset
from ppzoo.data.datasets.cifar import CIFAR10, CIFAR100
from ppzoo.data.datasets.custom_labels import CustomLabelDataset
from ppzoo.data.datasets.fashion_mnist import FashionMNIST
from ppzoo.data.datasets.flowers import Flowers102
from ppzoo.data.datasets.image_files import ImageFiles, ImageFolder, ImageNetDataset, describe_skipped, iter_images
from ppzoo.data.datasets.multi_label import MultiLabelDataset
from ppzoo.data.datasets.tar_shards import TarShards

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DATASETS",
    "CustomLabelDataset",
    "Dataset",
    "FashionMNIST",
    "Flowers102",
    "ImageFiles",
    "ImageFolder",
    "ImageNetDataset",
    "MultiLabelDataset",
    "TarShards",
    "describe_skipped",
    "iter_images",
]
