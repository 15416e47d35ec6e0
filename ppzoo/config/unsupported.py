"""Features of PaddleClas's schema that ppzoo does not support: one row per key.

Remove the row of a feature when it is implemented. For PaddleClas's components that ppzoo does not have, errors name
what can be used instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ppzoo.config.type_checks import Problem


class Row(NamedTuple):
    """A value that requests an unsupported feature.

    Attributes:
        path: key path; `*` matches any key.
        is_requested: whether a value found there requests the feature.
        message: what is reported.
        is_other_kind: the configuration is of another kind, so that nothing else is reported.
        has_effect: whether the feature would change anything in a configuration.
        hides: key paths at and below which nothing else is reported.
    """

    path: str
    is_requested: Callable[[Any], bool]
    message: str
    is_other_kind: bool = False
    has_effect: Callable[[Mapping[str, Any]], bool] = lambda config: True
    hides: tuple[str, ...] = ()


def _is_given(value: Any) -> bool:
    return value is not None


def _is_true(value: Any) -> bool:
    return value is True


def _has_no_network(config: Mapping[str, Any]) -> bool:
    return config.get("Arch") is None


def _has_softmax(config: Mapping[str, Any]) -> bool:
    """Whether exports have a softmax: with several labels per image, they have a sigmoid instead."""
    section = config.get("Global")
    return not (isinstance(section, Mapping) and section.get("use_multilabel") is True)


LEGACY = (
    "configurations of PaddleClas 1.x (ARCHITECTURE, TRAIN, ...) are not supported; write Arch, DataLoader, ... instead"
)
SEARCH = (
    "searches of PaddleClas's search_strategy.py are not supported; train the configuration that"
    " base_config_file names, with `-o` for each value"
)
DEPLOY = (
    "configurations of PaddleClas's deploy/configs are not supported; predict with `ppzoo infer EXPORT IMAGES`, since"
    " exports contain the preprocessing"
)
EXPORT = (
    "the settings of an export (inference.yml) are not supported; predict with `ppzoo infer EXPORT IMAGES`, or use the"
    " configuration that the network was trained with"
)
PADDLEX = (
    "configurations of PaddleX (Global.model, Train, Evaluate, Predict) are not supported; start from a configuration"
    " that `ppzoo configs` lists, and write Train.pretrain_weight_path as Arch.pretrained"
)
SLIM = (
    "pruning and quantization in training are not supported; remove the section, and export with"
    " `ppzoo export --precision int8`"
)
RETRIEVAL = "retrieval and feature models (RecModel, Query and Gallery) are not supported; ppzoo trains classifiers"

ROWS = [
    *(
        Row(key, lambda value: True, LEGACY, is_other_kind=True)
        for key in ("ARCHITECTURE", "LEARNING_RATE", "OPTIMIZER", "TRAIN", "VALID", "classes_num")
    ),
    Row("search_dict", _is_given, SEARCH, is_other_kind=True),
    Row("Global.rec_inference_model_dir", _is_given, RETRIEVAL, is_other_kind=True),
    Row("Global.det_inference_model_dir", _is_given, RETRIEVAL, is_other_kind=True),
    Row("Global.inference_model_dir", _is_given, DEPLOY, is_other_kind=True, has_effect=_has_no_network),
    Row("PreProcess", _is_given, EXPORT, is_other_kind=True),
    Row("Global.model", _is_given, PADDLEX, is_other_kind=True, has_effect=_has_no_network),
    Row("Arch.name", lambda value: value == "RecModel", RETRIEVAL, is_other_kind=True),
    Row("Global.eval_mode", lambda value: value == "retrieval", RETRIEVAL, is_other_kind=True),
    Row("DataLoader.Eval.Query", _is_given, RETRIEVAL, is_other_kind=True),
    Row("DataLoader.Eval.Gallery", _is_given, RETRIEVAL, is_other_kind=True),
    Row("Arch.infer_output_key", _is_given, "the output of an inner layer is not supported; remove the key"),
    Row(
        "Arch.infer_add_softmax",
        lambda value: value is False,
        "exports and predictions are probabilities; remove the key",
        has_effect=_has_softmax,
    ),
    Row("Slim", _is_given, SLIM, hides=("Slim",)),
    Row("Global.ema", _is_given, "write the section EMA, as in PaddleClas 2.3 and later", hides=("Global.ema",)),
    Row("Global.AMP", _is_given, "write the section AMP, as in PaddleClas 2.3 and later", hides=("Global.AMP",)),
    Row("Global.feature_normalize", _is_true, RETRIEVAL),
    Row("Global.feature_binarize", _is_given, RETRIEVAL),
]

# Keys in PaddleClas's configurations that ppzoo does not have: why, or what to use instead. `ppzoo check` reports them,
# `ppzoo migrate` removes them.
IGNORED_KEYS = {
    "profiler_options": "an option of PaddleClas's tools/train.py; use `ppzoo profile`",
    "Global.class_num": "PaddleClas ignores it next to Arch.class_num, which is the number of classes",
    "Global.infer_imgs": "PaddleClas does not read it; Infer.infer_imgs names the images",
    "Global.use_gpu": "PaddleClas 2 does not read it; Global.device selects the device",
    "Global.distributed": "PaddleClas sets this key itself; the launcher decides how many processes train",
    "Global.uniform_output_enabled": "it is for PaddleX, which expects other names of the saved files",
    "Global.export_with_pir": "the format of exports follows the version of PaddlePaddle; see `ppzoo export --legacy`",
    "Global.model_name": "it is for PaddleX; exports have the name of the architecture",
    "Global.dist": "the launcher decides how many processes train",
    "Global.sampler": "PaddleClas does not read it; DataLoader.Train.sampler describes the sampler",
    "Global.max_num_latest_checkpoint": (
        "ppzoo writes one checkpoint `latest`; Global.keep is the number of checkpoints `epoch_N` that are kept"
    ),
    "Global.print_dtypes": "it is for debugging PaddleClas",
    "Slim": "pruning and quantization in training are not supported; see `ppzoo export --precision int8`",
    "DataLoader.Train.class_num": "PaddleClas sets this key itself; Arch.class_num is the number of classes",
    "DataLoader.class_num": "PaddleClas sets this key itself; Arch.class_num is the number of classes",
    "Optimizer.lr.step_each_epoch": "the number of steps per epoch follows from the data",
    "Optimizer.lr.epochs": "Global.epochs is the number of epochs",
    "DataLoader.epochs": "PaddleClas sets this key itself; Global.epochs is the number of epochs",
}

ATTENTION = (
    "; name the network inside it (such as ResNet34) with its return_patterns, and replace AFDLoss by"
    " DistillationPairLoss with base_loss_name AFDLoss, which contains the linear layers"
)
OF_RETRIEVAL = "; it is for retrieval, and ppzoo trains classifiers"
NO_NETWORK = "; ppzoo does not have this network of PaddleClas, choose one that `ppzoo models` lists"
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "arch": (
        ("AttentionModel", ATTENTION),
        ("BiFPNc|LinearTransform(Student|Teacher)", "; it is no network that classifies images"),
        (
            "EfficientNetB3_watermark|PPLCNetBaseNet|PPLCNetV2_base_ShiTu|PPLCNet_x2_5_Tanh|VGG19Sigmoid|WideResNet"
            "|ResNet50_(adaptive_max_pool2d|last_stage_stride1|metabin)",
            NO_NETWORK,
        ),
        (
            "(AdaFace|BEiT|CoAtNet|CSPDarkNet|CSATv2|DINO|DarkNet|EVA_|EfficientNetV2|EfficientViT|FastViT|LowFormer|MAE_"
            "|MOCOV3|MViT|MixNet|MobileFaceNet|MobileNeXt|ResNeXt|SVTR|cae_"
            "|CSWin|Swin|Twins|ViT|DeiT|LeViT|Mixer|MobileViT|NextViT|PVT|TNT|UniFormer|VAN|CvT|CAE|CLIP|MicroNet"
            "|ConvNeXt|DLA|DPN|DSNet|EfficientFormer|HarDNet|HRNet|Inception|PeleeNet|RedNet|RegNet|Res2Net|ResNeSt"
            "|ReXNet|SE_HRNet|Tiny|TransNeXt|Wave|Xception|alt_gvt|pcpvt|deit).*",
            NO_NETWORK,
        ),
    ),
    "dataset": (
        (
            "MixDataset",
            "; ppzoo does not have this dataset of PaddleClas, write one list for ImageNetDataset, with the lines of"
            " all its lists and paths relative to one image_root",
        ),
        (
            "AdaFaceDataset|AliProductDataset|CompCars|DukeMTMC|FiveValidationDataset|GPR1200|ICartoonDataset"
            "|LogoDataset|Market1501|MSMT17|PersonDataset|VeriWild",
            OF_RETRIEVAL,
        ),
    ),
    "sampler": (
        ("MixSampler", "; ppzoo does not have this sampler of PaddleClas, use DistributedBatchSampler"),
        ("PKSampler|DistributedRandomIdentitySampler", OF_RETRIEVAL),
    ),
    "metric": (("mAP|mINP|Recallk|Precisionk", OF_RETRIEVAL),),
    "loss": (
        (
            "(Center|DCH|DSHSD|Eml|LCDSH|MSM|Npairs|SupCon|TriHard)Loss|(Contrastive|Triplet).*Loss.*|PairwiseCosface",
            OF_RETRIEVAL,
        ),
        ("AFDLoss", "; write DistillationPairLoss with base_loss_name AFDLoss, and the layers as s_keys and t_keys"),
        ("DistillationATLoss", "; ppzoo does not have this loss of PaddleClas, use DistillationPairLoss"),
    ),
    "transform": (("MosaicImage", "; ppzoo does not have this transform of PaddleClas, remove it"),),
}


def unsupported_name(kind: str, name: object) -> str:
    """Return what can be used instead of a component of PaddleClas that ppzoo does not have; "" for other names."""
    rows = NAMES.get(kind, ()) if isinstance(name, str) else ()
    return next((hint for pattern, hint in rows if re.fullmatch(pattern, str(name))), "")


def find_other_kind(config: Mapping[str, Any]) -> Problem | None:
    """Return why a configuration is not one for training a classifier; None if it is one."""
    return next((problem for row, problem in find_unsupported(config) if row.is_other_kind), None)


def find_unsupported(config: Mapping[str, Any]) -> Iterator[tuple[Row, Problem]]:
    """Yield the rows that apply to a configuration, each with its problem."""
    for row in ROWS:
        for path, value in _find(config, row.path.split("."), ""):
            if row.is_requested(value) and row.has_effect(config):
                yield row, Problem(path, row.message)


def _find(value: Any, parts: list[str], path: str) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield path, value
    elif isinstance(value, Mapping):
        for key in value if parts[0] == "*" else [parts[0]] if parts[0] in value else []:
            yield from _find(value[key], parts[1:], f"{path}.{key}" if path else str(key))
