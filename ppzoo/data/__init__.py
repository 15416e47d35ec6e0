"""From image files to batches: index, datasets, transforms, samples, samplers; `ppzoo.data.loader` makes tensors.

Nothing here but `ppzoo.data.loader` imports PaddlePaddle.
"""

from ppzoo.data.batch_transforms import BATCH_TRANSFORMS, BatchTransform
from ppzoo.data.datasets import DATASETS, Dataset, FashionMNIST, ImageFolder, ImageNetDataset
from ppzoo.data.index import PathIndex, index_paths, read_list
from ppzoo.data.labels import read_labels
from ppzoo.data.pipeline import Sample, Samples
from ppzoo.data.sampler import SAMPLERS, DistributedBatchSampler, Sampler
from ppzoo.data.transforms import TRANSFORMS, Compose, Transform

__all__ = [
    "BATCH_TRANSFORMS",
    "DATASETS",
    "SAMPLERS",
    "TRANSFORMS",
    "BatchTransform",
    "Compose",
    "Dataset",
    "DistributedBatchSampler",
    "FashionMNIST",
    "ImageFolder",
    "ImageNetDataset",
    "PathIndex",
    "Sample",
    "Sampler",
    "Samples",
    "Transform",
    "index_paths",
    "read_labels",
    "read_list",
]
