"""The fixed part of PaddleClas's schema as frozen dataclasses: sections, their keys, types and defaults.

Field names are the keys of the YAML file. A section that describes a component (an optimizer, a dataset, ...) holds
its name and options as `spec`, and the keys that all components of the kind share as typed fields. Keys of features
that ppzoo lacks are known here too; `unsupported` refuses the values that request them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ppzoo.config.arch_sections import ArchConfig
from ppzoo.config.data_sections import NO_DATA, DataLoaderConfig
from ppzoo.config.section import ComponentSpec, Listed, Named, Section
from ppzoo.config.value_types import (
    Count,
    Decay,
    Device,
    ImageShape,
    LogRanks,
    Natural,
    Scale,
    Seed,
    Side,
    Text,
    Weight,
)
from ppzoo.files import PathText


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig(Section):
    """`Global.early_stopping`: stop after `patience` evaluations in a row without a gain above `min_gain`.

    Attributes:
        patience: number of evaluations.
        min_gain: the main metric has to improve by more than this.
    """

    patience: Count
    min_gain: Weight = 0.0


@dataclass(frozen=True, kw_only=True)
class GlobalConfig(Section):
    """`Global`: run length, device, output and checkpoints.

    Attributes:
        epochs: number of epochs; required for training.
        device: "cpu", "gpu", "gpu:N", or "auto": a GPU if there is one.
        native: use of ppzoo's native CPU operators; the environment variable `PPZOO_NATIVE` overrides it. This key does
            not affect the compiled image reader, which gives the same pixels as the one in Python;
            `PPZOO_NATIVE=off` switches off both.
        seed: seed of weights, shuffling and augmentation; 0 if None.
        output_dir: parent of the run's output folder.
        checkpoints: checkpoint prefix to resume from, or "auto".
        pretrained_model: weights to start from, or to evaluate, predict with or export.
        save_interval: epochs between the checkpoints `epoch_N`; `latest` is saved after each epoch.
        save_interval_steps: also save `latest` within an epoch, each time after this number of training steps.
        keep: number of the last checkpoints `epoch_N` that are kept; all by default.
        eval_during_train: evaluate during training.
        eval_interval: epochs between evaluations; the last epoch is always evaluated.
        eval_mode: only "classification" is supported.
        start_eval_epoch: there is no evaluation up to and including this epoch, except after the last epoch of the run.
        print_batch_step: training steps between log lines.
        use_visualdl: log to VisualDL. If `loggers` is set, true has no effect, and false together with `visualdl` in
            `loggers` is an error.
        loggers: names of the loggers, such as [visualdl, tensorboard].
        log_histograms: epochs between histograms of weights and gradients; none by default.
        image_channel: accepted for PaddleClas's configurations; it must agree with `image_shape`.
        image_shape: [channels, height, width] of the exported network's input.
        save_inference_dir: folder of the export.
        to_static: train with a static program.
        use_dali: has no effect: the images are read by ppzoo's own loader, not by DALI.
        use_sync_bn: has no effect, as in PaddleClas; set `Arch.use_sync_bn`.
        use_multilabel: images have several labels.
        update_freq: batches per optimizer step (gradient accumulation).
        iter_per_epoch: batches per epoch; all of the data by default.
        on_nan: what to do when a loss or gradients are not finite.
        deterministic: use deterministic operators only.
        log_ranks: ranks of the processes that write to the console.
        class_names: names of the classes, in order; those of the training data by default.
        early_stopping: stop when the main metric has not improved for a number of evaluations.
        feature_normalize, feature_binarize: an option of retrieval, which is not supported.
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
    use_sync_bn: bool = False
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
    """`AMP`: mixed precision, enabled where the section exists unless `use_amp` is false.

    Attributes:
        use_amp: enable mixed precision.
        use_fp16_test: use half precision in evaluation, too.
        scale_loss: factor of the loss, so that small gradients do not become 0 in float16.
        use_dynamic_loss_scaling: halve `scale_loss` after an overflow, and double it after 2,000 steps without one.
        use_promote: see `use_promote` of PaddlePaddle's `auto_cast`.
        level: O1: half precision for the operators that allow it; O2: for all but the numerically sensitive ones.
        dtype: type of half precision.
    """

    use_amp: bool = True
    use_fp16_test: bool = False
    scale_loss: Scale = 1.0
    use_dynamic_loss_scaling: bool = False
    use_promote: bool = False
    level: Literal["O1", "O2"] = "O1"
    dtype: Literal["float16", "bfloat16"] = "float16"


@dataclass(frozen=True, kw_only=True)
class EmaConfig(Section):
    """`EMA`: exponential moving average of the weights; with `warmup` its decay rises to `decay`.

    Attributes:
        decay: weight of the previous average at each update.
        warmup: use min(decay, (1 + n) / (10 + n)) at update n instead of a constant decay.
    """

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
        """Whether the section requests other views of an image than the plain one."""
        return self.mirrors or bool(self.sizes)


@dataclass(frozen=True, kw_only=True)
class LossTermConfig(Section):
    """One of the losses that are added, and its weight.

    Attributes:
        weight: factor of this loss in the sum.
    """

    spec: ComponentSpec
    weight: Scale = 1.0


@dataclass(frozen=True, kw_only=True)
class LossConfig(Section):
    """`Loss`: the losses of training and evaluation; the losses of a list are multiplied by their weights and added."""

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
class InferConfig(Section):
    """`Infer`: images to predict, their transforms, and the form of predictions.

    Attributes:
        infer_imgs: a file, a folder, a pattern, or a list of them.
        batch_size: number of images per batch.
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
    DataLoader: DataLoaderConfig = NO_DATA
    Infer: InferConfig = InferConfig()
    Metric: MetricConfig = MetricConfig()
