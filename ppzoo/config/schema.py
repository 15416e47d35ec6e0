"""The fixed part of PaddleClas's schema as frozen dataclasses: sections, their keys, types and defaults.

Field names are the keys of the YAML file. A section that describes a component (an optimizer, a dataset, ...) holds
its name and options as `spec`, and the keys that all components of the kind share as typed fields. Keys of features
that ppzoo lacks are known here too; `unsupported` refuses the values that request them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeVar

from ppzoo.config.section import COMPONENT_OPTION, ComponentSpec, Listed, Members, Named, Section
from ppzoo.config.value_types import (
    Count,
    Decay,
    Device,
    Fraction,
    ImageShape,
    LogRanks,
    Natural,
    Scale,
    Seed,
    Side,
    Text,
    Weight,
    Workers,
)
from ppzoo.files import PathText

NetworkT = TypeVar("NetworkT", bound="NetworkConfig")

DEFAULT_STUDENT = "Student"  # the network of a distillation that is used after training


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig(Section):
    """`Global.early_stopping`: stop after `patience` evaluations in a row without a gain above `min_gain`."""

    patience: Count
    min_gain: Weight = 0.0


@dataclass(frozen=True, kw_only=True)
class GlobalConfig(Section):
    """`Global`: run length, device, output and checkpoints.

    Attributes:
        epochs: number of epochs; required for training.
        device: "auto", "cpu", "gpu" or "gpu:N".
        native: use of ppzoo's native CPU operators.
        seed: seed of weights, shuffling and augmentation.
        output_dir: parent of the run's output folder.
        checkpoints: checkpoint prefix to resume from, or "auto".
        pretrained_model: weights to start from, or to evaluate, run or export.
        save_interval: epochs between checkpoints.
        save_interval_steps: training steps between checkpoints.
        keep: number of epoch checkpoints that are kept.
        eval_during_train: evaluate during training.
        eval_interval: epochs between evaluations.
        start_eval_epoch: first epoch after which the network is evaluated.
        print_batch_step: training steps between log lines.
        use_visualdl: log to VisualDL; `loggers` overrides it.
        loggers: names of the loggers, such as [visualdl, tensorboard].
        log_histograms: epochs between histograms of weights and gradients; none by default.
        image_shape: [channels, height, width] of the exported network's input.
        save_inference_dir: folder of the export.
        to_static: train with a static program.
        use_multilabel: images have several labels.
        update_freq: batches per optimizer step (gradient accumulation).
        iter_per_epoch: batches per epoch; all of the data by default.
        on_nan: what to do when a loss or gradients are not finite.
        deterministic: use deterministic operators only.
        log_ranks: ranks of the processes that write to the console.
        class_names: names of the classes, in order; those of the training data by default.
    """

    epochs: Count | None = None
    device: Device = "auto"
    native: Literal["auto", "on", "off"] = "auto"
    seed: Seed | None = None
    output_dir: PathText = "./output"
    checkpoints: PathText | None = None
    pretrained_model: PathText | None = None
    save_interval: Count = 1
    save_interval_steps: Count | None = None
    keep: Count | None = None
    eval_during_train: bool = True
    eval_interval: Count = 1
    start_eval_epoch: Natural = 0
    eval_mode: Literal["classification", "retrieval"] = "classification"
    print_batch_step: Count = 10
    use_visualdl: bool = False
    loggers: tuple[Text, ...] | None = None
    log_histograms: Count | None = None
    image_shape: ImageShape = (3, 224, 224)
    image_channel: Count | None = None
    save_inference_dir: PathText = "./inference"
    to_static: bool = False
    use_dali: bool = False
    use_multilabel: bool = False
    update_freq: Count = 1
    iter_per_epoch: Count | None = None
    early_stopping: EarlyStoppingConfig | None = None
    on_nan: Literal["raise", "rollback"] = "raise"
    deterministic: bool = False
    log_ranks: LogRanks = "0"
    class_names: tuple[Text, ...] | None = None
    feature_normalize: bool = False
    feature_binarize: str | None = None


@dataclass(frozen=True, kw_only=True)
class AmpConfig(Section):
    """`AMP`: mixed precision, enabled where the section exists unless `use_amp` is false."""

    use_amp: bool = True
    use_fp16_test: bool = False
    scale_loss: Scale = 1.0
    use_dynamic_loss_scaling: bool = False
    use_promote: bool = False
    level: Literal["O1", "O2"] = "O1"
    dtype: Literal["float16", "bfloat16"] = "float16"


@dataclass(frozen=True, kw_only=True)
class EmaConfig(Section):
    """`EMA`: exponential moving average of the weights; with `warmup` its decay rises to `decay`."""

    decay: Decay = 0.9999
    warmup: bool = True


@dataclass(frozen=True, kw_only=True)
class TtaConfig(Section):
    """`TTA`: test-time augmentation in `eval` and `infer`: the mean of the probabilities of several views of an image.

    Attributes:
        flip: also use each view's mirror image.
        ten_crop: use the four corner crops and the center crop, each also mirrored.
        sizes: image sizes in pixels, all of which are used.
    """

    flip: bool = False
    ten_crop: bool = False
    sizes: tuple[Side, ...] | None = None

    @property
    def mirrors(self) -> bool:
        """Whether each view is used mirrored, too."""
        return self.flip or self.ten_crop

    @property
    def is_enabled(self) -> bool:
        """Whether there is more than one view of an image."""
        return self.mirrors or bool(self.sizes)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Section):
    """A network: its architecture, and the keys that all architectures share.

    Attributes:
        pretrained: true for the official weights, or a path or URL.
        use_ssld: use the official weights that PaddleClas trained by distillation.
        class_num: number of classes; the architecture's default if None.
    """

    spec: ComponentSpec
    pretrained: bool | PathText | None = False
    use_ssld: bool = False
    class_num: int | None = field(default=None, metadata=COMPONENT_OPTION)

    @property
    def name(self) -> str:
        """Name of the architecture."""
        return self.spec.name

    def with_class_num(self: NetworkT, class_num: int | None) -> NetworkT:
        """Return the network with another number of classes."""
        return replace(self, class_num=class_num)


@dataclass(frozen=True, kw_only=True)
class ArchConfig(NetworkConfig):
    """`Arch`.

    Attributes:
        use_sync_bn: synchronize batch statistics between processes.
        freeze: true to train the head only, or shell patterns of the parameter names to freeze.
    """

    use_sync_bn: bool = False
    freeze: bool | tuple[str, ...] = False
    infer_add_softmax: bool = True
    infer_output_key: str | None = None

    @property
    def deployed(self) -> NetworkConfig:
        """The network that is used after training."""
        return self

    @property
    def deployed_prefix(self) -> str:
        """Prefix of the names of the deployed network's weights in a checkpoint."""
        return ""


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(ArchConfig):
    """`Arch` of an architecture that holds several networks, one of which is used after training.

    Attributes:
        models: the networks by name.
        pretrained_list: weights of each network; null keeps `pretrained` of that network.
        freeze_params_list: whether each network is frozen.
        infer_model_name: the network that is used after training.
        class_num: number of classes of the networks that do not give one.
    """

    models: Annotated[Mapping[str, NetworkConfig], Members("arch", NetworkConfig)] = field(metadata=COMPONENT_OPTION)
    pretrained_list: tuple[PathText | bool | None, ...] | None = field(default=None, metadata=COMPONENT_OPTION)
    freeze_params_list: tuple[bool, ...] | None = field(default=None, metadata=COMPONENT_OPTION)
    infer_model_name: str = field(default=DEFAULT_STUDENT, metadata=COMPONENT_OPTION)
    class_num: Count | None = field(default=None, metadata=COMPONENT_OPTION)

    @property
    def networks(self) -> dict[str, NetworkConfig]:
        """The networks by name, each with a number of classes if `class_num` or the network gives one."""
        return {
            name: network.with_class_num(self.class_num) if network.class_num is None else network
            for name, network in self.models.items()
        }

    @property
    def deployed(self) -> NetworkConfig:
        return self.networks[self.infer_model_name]

    @property
    def deployed_prefix(self) -> str:
        return f"{self.infer_model_name}."


@dataclass(frozen=True, kw_only=True)
class LossTermConfig(Section):
    """One loss of a sum, and its weight in it."""

    spec: ComponentSpec
    weight: Weight = 1.0


@dataclass(frozen=True, kw_only=True)
class LossConfig(Section):
    """`Loss`: the losses of training and evaluation; each list is summed by its weights."""

    Train: Annotated[tuple[LossTermConfig, ...] | None, Listed("loss", LossTermConfig)] = None
    Eval: Annotated[tuple[LossTermConfig, ...] | None, Listed("loss", LossTermConfig)] = None


@dataclass(frozen=True, kw_only=True)
class MetricConfig(Section):
    """`Metric`: the metrics of training and evaluation; the first metric of `Eval` selects the best checkpoint."""

    Train: Annotated[tuple[ComponentSpec, ...] | None, Listed("metric")] = None
    Eval: Annotated[tuple[ComponentSpec, ...] | None, Listed("metric")] = None


@dataclass(frozen=True, kw_only=True)
class LrConfig(Section):
    """`Optimizer.lr`: the learning-rate schedule.

    Attributes:
        reference_batch: images per step that the rates are meant for; for other batches they are scaled linearly.
    """

    spec: ComponentSpec
    reference_batch: Count | None = None


@dataclass(frozen=True, kw_only=True)
class PostProcessConfig(Section):
    """`Infer.PostProcess`: how probabilities become predictions.

    Attributes:
        class_id_map_file: file with the class names, one "INDEX NAME" line per class.
        delimiter: what separates index and name in that file; a space by default.
        label_list: the class names, in order.
    """

    spec: ComponentSpec
    class_id_map_file: PathText | None = None
    delimiter: Text | None = None
    label_list: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Section):
    """`Optimizer`: the optimizer, its learning-rate schedule and regularizer."""

    spec: ComponentSpec
    lr: Annotated[LrConfig, Named("lr", LrConfig)]
    regularizer: Annotated[ComponentSpec | None, Named("regularizer")] = None


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Section):
    """`DataLoader.*.dataset`: the images and their transforms.

    Attributes:
        transform_ops: transforms of single images.
        batch_transform_ops: transforms of batches, such as mixup.
        on_error: what to do with images that cannot be read; by default skip them in training and raise in evaluation.
        max_bad_fraction: fraction of unreadable images above which skipping stops with an error.
    """

    spec: ComponentSpec
    transform_ops: Annotated[tuple[ComponentSpec, ...] | None, Listed("transform")] = None
    batch_transform_ops: Annotated[tuple[ComponentSpec, ...] | None, Listed("batch_transform")] = None
    on_error: Literal["raise", "skip"] | None = None
    max_bad_fraction: Fraction = 0.05

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
    """`DataLoader.*.loader`: with 0 workers, images are read in the training process."""

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


@dataclass(frozen=True, kw_only=True)
class InferConfig(Section):
    """`Infer`: images to predict, their transforms, and the form of predictions.

    Attributes:
        infer_imgs: a file, a folder, a pattern, or a list of them.
        batch_size: images that are computed at once.
    """

    infer_imgs: PathText | tuple[PathText, ...] | None = None
    batch_size: Count = 10
    transforms: Annotated[tuple[ComponentSpec, ...] | None, Listed("transform")] = None
    PostProcess: Annotated[PostProcessConfig | None, Named("postprocess", PostProcessConfig)] = None


@dataclass(frozen=True, kw_only=True)
class Sections(Section):
    """The sections of a configuration; a section that is null counts as missing."""

    Arch: Annotated[ArchConfig, Named("arch", ArchConfig)]
    Global: GlobalConfig = GlobalConfig()
    AMP: AmpConfig | None = None
    EMA: EmaConfig | None = None
    TTA: TtaConfig | None = None
    Loss: LossConfig = LossConfig()
    Optimizer: Annotated[OptimizerConfig | None, Named("optimizer", OptimizerConfig)] = None
    DataLoader: DataLoaderConfig = DataLoaderConfig()
    Infer: InferConfig = InferConfig()
    Metric: MetricConfig = MetricConfig()
