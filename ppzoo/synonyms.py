"""Names that other libraries have for components, so that an error about such a name suggests the component."""

from __future__ import annotations

import re

# Kind of component -> component, some with options to set -> its names in PyTorch, PaddlePaddle, timm and papers, in
# lower case without underscores.
SYNONYMS: dict[str, dict[str, str]] = {
    "loss": {
        "CELoss": "ce crossentropy crossentropyloss softmaxcrossentropy softmaxcrossentropyloss nll nllloss",
        "CELoss with epsilon": (
            "labelsmooth labelsmoothloss labelsmoothcrossentropy labelsmoothing labelsmoothingloss"
            " labelsmoothingcrossentropy labelsmoothceloss labelsmoothingceloss"
        ),
        "MultiLabelLoss": (
            "bce bceloss bcewithlogits bcewithlogitsloss binarycrossentropy binarycrossentropyloss"
            " multilabelsoftmarginloss sigmoidcrossentropy"
        ),
        "MultiLabelAsymmetricLoss": "asl aslloss asymmetricloss asymmetriclossmultilabel",
        "FocalLoss": "sigmoidfocalloss softmaxfocalloss",
        "PolyLoss": "poly1 poly1loss poly1crossentropy",
        "DistillationDKDLoss": "dkd dkdloss",
        "DistillationKLDivLoss": "kd kdloss knowledgedistillationloss",
    },
    "metric": {
        "TopkAcc": "acc acc1 acc5 accuracy top1 top5 top1acc top5acc topk topkaccuracy multiclassaccuracy",
        "PrecisionRecallF1": "precision recall f1 f1score fscore precisionrecall",
        "MultiLabelMAP": "map meanaverageprecision",
        "AveragePrecision": "ap auprc",
        "ExpectedCalibrationError": "ece calibrationerror",
    },
    "optimizer": {
        "Momentum": "sgdm sgdmomentum momentumsgd momentumoptimizer",
        "Momentum with use_nesterov: true": "nesterov nag nesterovmomentum",
        "AdamW": "adamweightdecay",
    },
    "learning-rate schedule": {
        "Cosine": (
            "cosineannealing cosineannealinglr cosineannealingdecay cosinelr cosinedecay cosinelrscheduler"
            " cosinescheduler"
        ),
        "Cosine with warmup_epoch": "cosinewarmup warmup warmupcosine linearwarmup linearwarmupcosine",
        "Step": "steplr stepdecay",
        "MultiStepDecay": "multistep multisteplr",
        "Piecewise": "piecewisedecay piecewiselr",
        "Linear": "linearlr lineardecay poly polylr polynomial polynomiallr polynomialdecay",
        "OneCycleLR": "onecycle",
        "Cyclic": "cycliclr cyclical",
        "ReduceOnPlateau": "plateau plateaulr reducelronplateau",
        "Constant": "fixed constantlr",
    },
    "regularizer": {"L2": "l2decay weightdecay", "L1": "l1decay"},
    "dataset": {
        "ImageFolder": "datasetfolder imagefolderdataset folder",
        "ImageNetDataset": "commondataset imagenet listdataset txtdataset csvdataset clsdataset",
        "TarShards": "webdataset wds tardataset",
        "MultiLabelDataset": "multilabel cocodataset",
    },
    "transform": {
        "DecodeImage": "decode imdecode imread loadimage readimage",
        "ResizeImage": "resize",
        "ResizeImage with resize_short": "resizeshort resizeimageshort shortresize",
        "CropImage": "centercrop centrecrop centercropimage crop",
        "RandCropImage": "randomresizedcrop randomresizedcropandinterpolation",
        "RandCropImageV2": "randomcrop randcrop",
        "RandFlipImage": "flip hflip horizontalflip randomflip randomhorizontalflip randhorizontalflip",
        "RandFlipImage with flip_code: 0": "vflip verticalflip randomverticalflip randverticalflip",
        "NormalizeImage": "normalize",
        "NormalizeImage followed by ToCHWImage": "totensor piltotensor totensorv2",
        "ToCHWImage": "tochw hwctochw hwc2chw transpose permute",
        "RandomRotation": "rotate rotation randomrotate randrotate",
        "RandomGrayscale": "grayscale togray",
        "BlurImage": "blur gaussianblur motionblur",
        "MixupOperator in batch_transform_ops": "mixup mixupoperator",
        "CutmixOperator in batch_transform_ops": "cutmix cutmixoperator",
        "FmixOperator in batch_transform_ops": "fmix fmixoperator",
    },
    "batch transform": {"MixupOperator": "mixup", "CutmixOperator": "cutmix", "FmixOperator": "fmix"},
    "sampler": {
        "DistributedBatchSampler": "batchsampler distributedsampler randomsampler sequentialsampler",
        "WeightedRandomSampler": "weightedsampler",
    },
    "postprocessing step": {"ThreshOutput": "threshold"},
}


def find_synonym(kind: str, name: object) -> str | None:
    """Return the component that `name` means in another library, quoted, and how to use it; None if there is none.

    Args:
        kind: kind of component, such as "loss".
    """
    plain = re.sub("[^a-z0-9]", "", str(name).lower())
    for text, names in SYNONYMS.get(kind, {}).items():
        if plain in names.split():
            return re.sub(r"^\w+", lambda component: repr(component[0]), text)
    return None
