"""The section `DataLoader`: training and evaluation data, their transforms, batches and worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ppzoo.config.section import ComponentSpec, Listed, Named, Section
from ppzoo.config.value_types import Count, Fraction, Workers


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Section):
    """`DataLoader.*.dataset`: the images and their transforms.

    Attributes:
        transform_ops: transforms of single images.
        batch_transform_ops: transforms of batches, such as mixup.
        on_error: what to do with images that cannot be read; by default skip them in training and raise in evaluation.
        max_bad_fraction: fraction of unreadable images above which skipping stops with an error.
        cache: where to keep decoded images for later epochs: in memory or on the disk; not at all by default.
    """

    spec: ComponentSpec
    transform_ops: Annotated[tuple[ComponentSpec, ...] | None, Listed("transform")] = None
    batch_transform_ops: Annotated[tuple[ComponentSpec, ...] | None, Listed("batch_transform")] = None
    on_error: Literal["raise", "skip"] | None = None
    max_bad_fraction: Fraction = 0.05
    cache: Literal["memory", "disk"] | None = None

    @property
    def transforms(self) -> tuple[ComponentSpec, ...]:
        """The transforms of single images; () without any."""
        return self.transform_ops or ()


@dataclass(frozen=True, kw_only=True)
class SamplerConfig(Section):
    """`DataLoader.*.sampler`: which images form a batch.

    Attributes:
        batch_size: images per batch and process.
        shuffle: draw a new order in each epoch; the sampler's default if None.
        drop_last: skip the last batch of an epoch if it is smaller.
    """

    spec: ComponentSpec
    batch_size: Count
    shuffle: bool | None = None
    drop_last: bool = False


@dataclass(frozen=True, kw_only=True)
class LoaderConfig(Section):
    """`DataLoader.*.loader`: with 0 workers, images are read in the training process.

    Attributes:
        num_workers: number of processes that read and transform images.
        use_shared_memory: receive batches of worker processes through shared memory.
    """

    num_workers: Workers = 0
    use_shared_memory: bool = True


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Section):
    """`DataLoader.Train` and `DataLoader.Eval`."""

    dataset: Annotated[DatasetConfig, Named("dataset", DatasetConfig)]
    sampler: Annotated[SamplerConfig, Named("sampler", SamplerConfig)]
    loader: LoaderConfig = LoaderConfig()


@dataclass(frozen=True, kw_only=True)
class DataLoaderConfig(Section):
    """`DataLoader`: training and evaluation data; without `Eval` there is no evaluation."""

    Train: SplitConfig | None = None
    Eval: SplitConfig | None = None


NO_DATA = DataLoaderConfig()
