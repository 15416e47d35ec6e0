"""The fixed part of PaddleClas's schema: sections, their keys, types and defaults.

Where a section describes a component (an optimizer, a data set, ...), its dataclass holds only the keys that all
components of the kind share; the rest are the component's own options, marked by `Named` or `Listed`. Keys of features
that ppzoo lacks are known here all the same, and `unsupported` has the word on their values.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from math import isqrt
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ppzoo.config.component_types import Option
from ppzoo.config.type_checks import Limit, below
from ppzoo.files import PathText
from ppzoo.host import MAX_PIXELS

T = TypeVar("T")

KINDS = {
    "arch": "architecture",
    "batch_transform": "batch transform",
    "dataset": "data set",
    "loss": "loss",
    "lr": "learning-rate schedule",
    "metric": "metric",
    "optimizer": "optimizer",
    "postprocess": "post-processing",
    "regularizer": "regularizer",
    "sampler": "sampler",
    "transform": "transform",
}


@dataclass(frozen=True)
class Named:
    """Marks a mapping `{name: ..., options}` of a component of kind `slot`; `section` holds the shared keys."""

    slot: str
    section: type


@dataclass(frozen=True)
class Shared:
    """The shared keys of the components in a list: none."""


@dataclass(frozen=True)
class Listed:
    """Marks a list of single-key mappings `{Name: options}` of components of kind `slot`."""

    slot: str
    section: type = Shared


@dataclass(frozen=True)
class Members:
    """Marks a list of single-key mappings `{any key: {name: ..., options}}` of components of kind `slot`."""

    slot: str
    section: type


def log_ranks(value: str | int | list[int]) -> list[int]:
    """The processes that `Global.log_ranks` names; none where it is no list of numbers."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [int(part) for part in parts] if all(str(part).strip().isdecimal() for part in parts) else []


LARGEST = 2**31 - 1  # what PaddlePaddle's shapes and counters hold
MAX_WORKERS, MAX_CHANNELS = 256, 4096
Count = Annotated[int, Limit("an integer of at least 1", lambda value: value >= 1), below(LARGEST)]
Natural = Annotated[int, Limit("an integer of at least 0", lambda value: value >= 0), below(LARGEST)]
Side = Annotated[int, Limit("an integer of at least 1", lambda value: value >= 1), below(isqrt(MAX_PIXELS))]
Workers = Annotated[int, Limit("an integer of at least 0", lambda value: value >= 0), below(MAX_WORKERS)]
Seed = Annotated[int, Limit("an integer from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)]
Weight = Annotated[float, Limit("a number of at least 0", lambda value: 0 <= value < float("inf"))]
Decay = Annotated[float, Limit("a number from 0 to below 1", lambda value: 0 <= value < 1)]
Scale = Annotated[float, Limit("a number above 0", lambda value: 0 < value < float("inf"))]
Text = Annotated[str, Limit("one character or more", lambda value: value != "")]
Share = Annotated[float, Limit("a number from 0 to 1", lambda value: 0 <= value <= 1)]
LogRanks = Annotated[
    str | int | list[int],
    Limit("numbers of processes such as 0 or '0,1'", lambda value: min(log_ranks(value), default=-1) >= 0),
]
Device = Annotated[
    str, Limit("'auto', 'cpu', 'gpu' or 'gpu:N'", lambda value: re.fullmatch(r"auto|cpu|gpu(:\d+)?", value))
]
ImageShape = Annotated[
    list[int],
    Limit("three sizes, [channels, height, width]", lambda value: len(value) == 3 and min(value) >= 1),
    Limit(f"at most {MAX_PIXELS} pixels (height x width)", lambda value: value[1] * value[2] <= MAX_PIXELS),
    Limit(f"at most {MAX_CHANNELS} channels", lambda value: value[0] <= MAX_CHANNELS),
]


@dataclass(frozen=True)
class EarlyStoppingSection:
    """`Global.early_stopping`: end after `patience` evaluations in a row without a gain above `min_gain`."""

    patience: Count
    min_gain: Weight = 0.0


@dataclass(frozen=True)
class GlobalSection:
    """`Global`. `epochs` has no default, but only training needs it.

    `class_names`: names of the classes, in order; those of the training data by default.
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
    image_shape: ImageShape = field(default_factory=lambda: [3, 224, 224])
    image_channel: Count | None = None
    save_inference_dir: PathText = "./inference"
    to_static: bool = False
    use_dali: bool = False
    use_multilabel: bool = False
    update_freq: Count = 1
    iter_per_epoch: Count | None = None
    early_stopping: EarlyStoppingSection | None = None
    on_nan: Literal["raise", "rollback"] = "raise"
    deterministic: bool = False
    log_ranks: LogRanks = "0"
    class_names: list[Text] | None = None
    feature_normalize: bool = False
    feature_binarize: str | None = None


@dataclass(frozen=True)
class AmpSection:
    """`AMP`: mixed precision, on where the section is there and does not say otherwise."""

    use_amp: bool = True
    use_fp16_test: bool = False
    scale_loss: Scale = 1.0
    use_dynamic_loss_scaling: bool = False
    use_promote: bool = False
    level: Literal["O1", "O2"] = "O1"
    dtype: Literal["float16", "bfloat16"] = "float16"


@dataclass(frozen=True)
class EmaSection:
    """`EMA`: exponential moving average of the weights; with `warmup` its decay rises to `decay`."""

    decay: Decay = 0.9999
    warmup: bool = True


@dataclass(frozen=True)
class TtaSection:
    """`TTA`: test-time augmentation in `eval` and `infer`: the mean of the probabilities of several views of an image.

    `flip`: mirrored, too; `ten_crop`: the four corners and the center, and all of them mirrored; `sizes`: the sides in
    pixels to which images are brought, all of them.
    """

    flip: bool = False
    ten_crop: bool = False
    sizes: list[Side] | None = None


@dataclass(frozen=True)
class ArchSection:
    """The keys of `Arch` that every architecture shares.

    `freeze`: what is not trained: true for all but the head, or shell patterns of parameter names.
    """

    name: str
    pretrained: bool | PathText | None = False
    use_ssld: bool = False
    use_sync_bn: bool = False
    freeze: bool | list[str] = False
    infer_add_softmax: bool = True
    infer_output_key: str | None = None


@dataclass(frozen=True)
class MemberSection:
    """The keys that every network of a `DistillationModel` shares."""

    name: str
    pretrained: bool | PathText | None = False
    use_ssld: bool = False


@dataclass(frozen=True)
class DistillationSection:
    """`Arch` of the name `DistillationModel`: networks side by side, of which one is trained to be used.

    `pretrained_list` and `freeze_params_list` have one entry a network; of the former null leaves the network its own.
    `class_num` is that of the networks that give none.
    """

    models: Annotated[list, Members("arch", MemberSection)]
    pretrained_list: list[PathText | bool | None] | None = None
    freeze_params_list: list[bool] | None = None
    infer_model_name: str = "Student"
    class_num: Count | None = None


@dataclass(frozen=True)
class LossOptions:
    """What every loss knows: its factor in the sum."""

    weight: Weight = 1.0


@dataclass(frozen=True)
class LossSection:
    """`Loss`."""

    Train: Annotated[list | None, Listed("loss", LossOptions)] = None
    Eval: Annotated[list | None, Listed("loss", LossOptions)] = None


@dataclass(frozen=True)
class MetricSection:
    """`Metric`."""

    Train: Annotated[list | None, Listed("metric")] = None
    Eval: Annotated[list | None, Listed("metric")] = None


@dataclass(frozen=True)
class LrSection:
    """The keys of `Optimizer.lr` that every schedule shares; without a name the rate is constant.

    `reference_batch`: images of a step for which the rates are meant; for others they are scaled in proportion.
    """

    name: str = "Constant"
    reference_batch: Count | None = None


@dataclass(frozen=True)
class ComponentSection:
    """The keys of a component that shares none but its name."""

    name: str


@dataclass(frozen=True)
class PostProcessSection:
    """The keys of `Infer.PostProcess` that every post-processing shares: the class names, in order or in a file.

    `delimiter`: what parts index and name in the file; a blank by default.
    """

    name: str
    class_id_map_file: PathText | None = None
    delimiter: Text | None = None
    label_list: list[str] | None = None


@dataclass(frozen=True)
class OptimizerSection:
    """The keys of `Optimizer` that every optimizer shares."""

    name: str
    lr: Annotated[dict, Named("lr", LrSection)]
    regularizer: Annotated[dict | None, Named("regularizer", ComponentSection)] = None


@dataclass(frozen=True)
class DatasetSection:
    """The keys of a `dataset` that every data set shares."""

    name: str
    transform_ops: Annotated[list | None, Listed("transform")] = None
    batch_transform_ops: Annotated[list | None, Listed("batch_transform")] = None
    on_error: Literal["raise", "skip"] | None = None
    max_bad_fraction: Share = 0.05


@dataclass(frozen=True)
class SamplerSection:
    """The keys of a `sampler` that every sampler shares."""

    batch_size: Count
    name: str = "DistributedBatchSampler"
    shuffle: bool = False
    drop_last: bool = False


@dataclass(frozen=True)
class LoaderSection:
    """`loader`: 0 workers read in the training process itself."""

    num_workers: Workers = 0
    use_shared_memory: bool = True


@dataclass(frozen=True)
class SplitSection:
    """`DataLoader.Train` and `DataLoader.Eval`."""

    dataset: Annotated[dict, Named("dataset", DatasetSection)]
    sampler: Annotated[dict, Named("sampler", SamplerSection)]
    loader: LoaderSection = LoaderSection()


@dataclass(frozen=True)
class DataLoaderSection:
    """`DataLoader`; without `Eval` there is no evaluation."""

    Train: SplitSection | None = None
    Eval: SplitSection | None = None


@dataclass(frozen=True)
class InferSection:
    """`Infer`: `infer_imgs` is a file, a folder, a pattern, or a list of them."""

    infer_imgs: PathText | list[PathText] | None = None
    batch_size: Count = 10
    transforms: Annotated[list | None, Listed("transform")] = None
    PostProcess: Annotated[dict | None, Named("postprocess", PostProcessSection)] = None


@dataclass(frozen=True)
class Configuration:
    """The whole; a section that is null counts as absent."""

    Arch: Annotated[dict, Named("arch", ArchSection)]
    Global: GlobalSection = GlobalSection()
    AMP: AmpSection | None = None
    EMA: EmaSection | None = None
    TTA: TtaSection | None = None
    Loss: LossSection = LossSection()
    Optimizer: Annotated[dict | None, Named("optimizer", OptimizerSection)] = None
    DataLoader: DataLoaderSection = DataLoaderSection()
    Infer: InferSection | None = None
    Metric: MetricSection = MetricSection()


def known_keys(section: type) -> dict[str, Option]:
    """The keys of a section's dataclass, as options."""
    hints = get_type_hints(section, include_extras=True)
    return {
        key.name: Option(hints[key.name], required=key.default is MISSING and key.default_factory is MISSING)
        for key in fields(section)
    }


def mark_of(option: Option) -> Named | Listed | Members | None:
    """The mark of an option that describes components, if it does."""
    return next((mark for mark in get_args(option.hint)[1:] if isinstance(mark, Named | Listed | Members)), None)


def nested(hint: Any) -> type | None:
    """The section that an annotation asks for (`Section` or `Section | None`), if it asks for one."""
    arms = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((arm for arm in arms if isinstance(arm, type) and is_dataclass(arm)), None)


def settings(section: type[T], values: Mapping[str, Any] | None) -> T:
    """A section's fixed keys with the defaults of those that `values` (checked before) leaves out.

    Sections within become dataclasses too; mappings and lists of components stay as they are.
    """
    chosen: dict[str, Any] = {}
    for key, option in known_keys(section).items():
        if values is not None and key in values:
            inner = nested(option.hint)
            if inner is None:
                chosen[key] = values[key]
            elif values[key] is not None:
                chosen[key] = settings(inner, values[key])
    return section(**chosen)


def own_options(section: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `values` gives beyond the section's fixed keys: the options of the component itself."""
    known = known_keys(section)
    return {key: value for key, value in values.items() if key not in known}
