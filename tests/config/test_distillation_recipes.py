"""PaddleClas's distillation recipes: the sections `Arch`, `Loss` and `Metric` as PaddleClas 2.6 writes them.

Transforms, and the metrics and post-processing of attributes, are tested elsewhere.
"""

import pytest

from ppzoo import builders, config

BOTH = ["Student", "Teacher"]
OPS = [{"DecodeImage": {"to_rgb": True}}, {"ResizeImage": {"size": 32}}, {"NormalizeImage": {"order": ""}}]
MUTUAL = {"DistillationDMLLoss": {"weight": 1.0, "model_name_pairs": [BOTH]}}
LABELS = {
    "DistillationMultiLabelLoss": {"weight": 1.0, "model_names": ["Student"], "weight_ratio": True, "size_sum": True}
}
WEIGHTED = {
    "DistillationDMLLoss": {
        "weight": 1.0,
        "weight_ratio": True,
        "sum_across_class_dim": False,
        "model_name_pairs": [BOTH],
    }
}
STRIDES = [2, [2, 1], [2, 1], [2, 1], [2, 1]]
LAYERS = ["blocks3", "blocks4", "blocks5", "blocks6"]
SSLD = {"pretrained": True, "use_ssld": True}
LCNET = {"name": "PPLCNet_x1_0", **SSLD}
STUDENT = [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 2]}}]


def inner(key, *, layer, mode=None):
    """The losses of two networks that learn from each other, and from the outputs of inner layers."""
    distance = {"weight": 1.0, "key": layer, "model_name_pairs": [BOTH], **({"mode": mode} if mode else {})}
    return [
        {"DistillationGTCELoss": {"weight": 1.0, "key": key, "model_names": BOTH}},
        {"DistillationDMLLoss": {"weight": 1.0, "key": key, "model_name_pairs": [BOTH]}},
        {"DistillationDistanceLoss": distance},
    ]


def recipe(count, *losses, teacher=None, student=None, frozen=True, multi=False, evaluation=None, **arch):
    networks = ({"name": "ResNet101_vd", **(teacher or {})}, {**LCNET, **(student or {})})
    plain = "MultiLabelLoss" if multi else "CELoss"
    options = {"weight": 1.0, **({"weight_ratio": True, "size_sum": True} if multi else {})}
    data = {
        "dataset": {
            "name": "MultiLabelDataset" if multi else "ImageNetDataset",
            "image_root": "dataset",
            "cls_label_path": "list.txt",
            "transform_ops": OPS,
        },
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 64},
    }
    return {
        "Global": {"epochs": 20, "image_shape": [3, 32, 32], "use_multilabel": multi},
        "Arch": {
            "name": "DistillationModel",
            "class_num": count,
            "pretrained_list": None,
            "freeze_params_list": [frozen, False],
            "models": [
                {name: {**network, "class_num": count}} for name, network in zip(BOTH[::-1], networks, strict=True)
            ],
            "infer_model_name": "Student",
            **arch,
        },
        "Loss": {"Train": list(losses or [MUTUAL]), "Eval": evaluation or [{plain: options}]},
        "Optimizer": {"name": "Momentum", "lr": {"name": "Cosine", "learning_rate": 0.01, "warmup_epoch": 5}},
        "DataLoader": {"Train": data, "Eval": data},
        "Infer": {"transforms": OPS, "PostProcess": {"name": "MultiLabelThreshOutput" if multi else "Topk"}},
        "Metric": (
            {"Eval": [{"AccuracyScore": None}]}
            if multi
            else {"Train": STUDENT, "Eval": [{"TopkAcc": {"topk": [1, 2]}}]}
        ),
    }


def resnets(*losses):
    return recipe(10, *losses, teacher={"name": "ResNet34"}, student={"name": "ResNet18", "use_ssld": False})


def small_networks(*losses, **changes):
    """Two equal networks, as in PaddleClas's mv3_small_dml.yaml."""
    return recipe(
        10, *losses, teacher={"name": "MobileNetV3_small_x1_0", "dropout_prob": None}, student=SMALL, **changes
    )


def relational(layer="blocks[3].expand_conv"):
    """PaddleClas's mv3_large_x1_0_distill_mv3_small_x1_0_rkd.yaml."""
    teacher = {"name": "MobileNetV3_large_x1_0", **SSLD, "dropout_prob": None}
    made = recipe(
        10,
        {"DistillationDMLLoss": {"weight": 1.0, "key": "logits", "model_name_pairs": [BOTH]}},
        {
            "DistillationRKDLoss": {
                "weight": 1.0,
                "target_size": 7,
                "model_name_pairs": [BOTH],
                "student_keepkeys": ["blocks[3].expand_conv"],
                "teacher_keepkeys": ["blocks[6].expand_conv"],
            }
        },
        teacher={**teacher, "return_patterns": ["blocks[6].expand_conv"]},
        student={**SMALL, "return_patterns": [layer]},
        evaluation=STUDENT_LOGITS,
    )
    return {**made, "Global": {**made["Global"], "use_dali": True}}


def feature_recipe(base, *, returned, weight=1.0, **options):
    """Two ResNets and a loss with layers."""
    student, teacher = returned
    return recipe(
        10,
        {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}},
        {"DistillationPairLoss": {"weight": weight, "base_loss_name": base, "model_name_pairs": [BOTH], **options}},
        teacher={"name": "ResNet34", "return_patterns": teacher},
        student={"name": "ResNet18", "pretrained": False, "use_ssld": False, "return_patterns": student},
    )


STUDENT_LABELS = {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}}
SMALL = {"name": "MobileNetV3_small_x1_0", "pretrained": False, "use_ssld": False, "dropout_prob": None}
T_STAGES = ["blocks[2]", "blocks[6]", "blocks[12]", "blocks[15]", "avg_pool"]
S_STAGES = ["blocks[1]", "blocks[3]", "blocks[5]", "blocks[7]", "avg_pool"]
STAGE_SHAPES = [[64, 8, 8], [128, 4, 4], [256, 2, 2], [512, 1, 1]]
EXPAND = {"return_patterns": ["blocks[0].expand_conv"]}
STUDENT_LOGITS = [{"DistillationGTCELoss": {"weight": 1.0, "key": "logits", "model_names": ["Student"]}}]
RECIPES = {
    "PULC/person_exists": recipe(2, use_sync_bn=True),
    "PULC/car_exists": recipe(2, use_sync_bn=True),
    "PULC/code_exists": recipe(2, use_sync_bn=True),
    "PULC/traffic_sign": recipe(232, teacher={"pretrained": False}),
    "PULC/text_image_orientation": recipe(4),
    "PULC/language_classification": recipe(
        10, student={"stride_list": STRIDES, "lr_mult_list": [0.0, 0.4, 0.4, 0.8, 0.8, 1.0]}
    ),
    "PULC/textline_orientation": recipe(2, teacher={"stride_list": STRIDES}, student={"stride_list": STRIDES}),
    "PULC/safety_helmet": recipe(
        2,
        *inner("logits", layer="blocks4"),
        teacher={**LCNET, "return_stages": True, "return_patterns": LAYERS},
        student={"return_stages": True, "return_patterns": LAYERS},
        frozen=False,
    ),
    "PULC/person_attribute": recipe(26, MUTUAL, LABELS, multi=True, use_sync_bn=True),
    "PULC/vehicle_attribute": recipe(19, LABELS, WEIGHTED, multi=True, use_ssld=True),
    "PULC/table_attribute": recipe(6, LABELS, WEIGHTED, teacher={"name": "ResNet50_vd"}, multi=True, use_ssld=True),
    "ImageNet/PPLCNet_x1_0_ssld": recipe(
        10,
        teacher={"name": "ResNet50_vd", **SSLD},
        student={"pretrained": False, "use_ssld": False, "dropout_prob": 0.0},
    ),
    "ImageNet/PPLCNet_x2_5_dml": recipe(
        10,
        {"DistillationGTCELoss": {"weight": 1.0, "model_names": BOTH}},
        MUTUAL,
        teacher={"name": "PPLCNet_x2_5"},
        student={"name": "PPLCNet_x2_5", "pretrained": False, "use_ssld": False},
        frozen=False,
    ),
    "ImageNet/mv3_large_x1_0_distill_mv3_small_x1_0": recipe(
        10,
        {"DistillationCELoss": {"weight": 1.0, "model_name_pairs": [BOTH]}},
        teacher={"name": "MobileNetV3_large_x1_0", **SSLD, "dropout_prob": None},
        student=SMALL,
    ),
    "ImageNet/mv3_large_x1_0_distill_mv3_small_x1_0_rkd": relational(),
    "ImageNet/mv3_small_dml": {
        **small_networks(
            {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}},
            {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Teacher"]}},
            MUTUAL,
            frozen=False,
            evaluation=[{"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}}],
        ),
        "Optimizer": {
            "name": "Momentum",
            "lr": {
                "name": "MultiStepDecay",
                "learning_rate": 0.4,
                "milestones": [30, 60, 90],
                "step_each_epoch": 1,
                "gamma": 0.1,
            },
        },
    },
    "ImageNet/mv3_small_gdml": small_networks(
        {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}},
        {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Teacher"]}},
        {"DistillationGuidedDMLLoss": {"weight": 1.0, "model_name_pairs": [BOTH]}},
    ),
    "ImageNet/PPLCNet_x2_5_ssld": recipe(
        10, teacher={"name": "ResNet50_vd", **SSLD}, student={"name": "PPLCNet_x2_5", "use_ssld": False}
    ),
    "ImageNet/PPLCNet_x2_5_udml": recipe(
        10,
        *inner("logits", layer="blocks5"),
        teacher={"name": "PPLCNet_x2_5", "return_patterns": LAYERS},
        student={"name": "PPLCNet_x2_5", "return_patterns": LAYERS},
        frozen=False,
    ),
    "ImageNet/MobileNetV3_dml_feature_loss": recipe(
        10,
        *inner("output", layer="blocks[0].expand_conv", mode="l2"),
        teacher={**SMALL, **EXPAND},
        student={**SMALL, **EXPAND},
        frozen=False,
    ),
    "ImageNet/mv3_large_x1_0_distill_mv3_small_x1_0_dml": recipe(
        10,
        {"DistillationDMLLoss": {"weight": 1.0, "key": "logits", "model_name_pairs": [BOTH]}},
        teacher={"name": "MobileNetV3_large_x1_0", **SSLD, "dropout_prob": None},
        student=SMALL,
        evaluation=STUDENT_LOGITS,
    ),
    "ImageNet/resnet34_distill_resnet18_dkd": resnets(
        STUDENT_LABELS,
        {"DistillationDKDLoss": {"model_name_pairs": [BOTH], "temperature": 1, "alpha": 1.0, "beta": 1.0}},
    ),
    "ImageNet/resnet34_distill_resnet18_wsl": resnets(
        STUDENT_LABELS, {"DistillationWSLLoss": {"weight": 2.5, "model_name_pairs": [BOTH], "temperature": 2}}
    ),
    "ImageNet/resnet34_distill_resnet18_skd": resnets(
        {"DistillationSKDLoss": {"model_name_pairs": [BOTH], "temperature": 1.0, "multiplier": 2.0, "alpha": 0.9}}
    ),
    "ImageNet/resnet34_distill_resnet18_mgd": feature_recipe(
        "MGDLoss",
        returned=(S_STAGES[:4], T_STAGES[:4]),
        s_keys=["blocks[7]"],
        t_keys=["blocks[15]"],
        name="loss_mgd",
        student_channels=512,
        teacher_channels=512,
    ),
    "ImageNet/resnet34_distill_resnet18_afd": feature_recipe(
        "AFDLoss",
        returned=(S_STAGES[:4], T_STAGES[:4]),
        s_keys=S_STAGES[:4],
        t_keys=T_STAGES[:4],
        s_shapes=STAGE_SHAPES,
        t_shapes=STAGE_SHAPES,
    ),
    "ImageNet/resnet34_distill_resnet18_pefd": feature_recipe(
        "PEFDLoss",
        returned=(["avg_pool"], ["avg_pool"]),
        weight=25.0,
        s_key="avg_pool",
        t_key="avg_pool",
        name="loss_pefd",
        student_channel=512,
        teacher_channel=512,
    ),
    "ImageNet/resnet34_distill_resnet18_reviewkd": feature_recipe(
        "ReviewKDLoss",
        returned=(S_STAGES, T_STAGES),
        s_key=S_STAGES,
        t_key=T_STAGES,
        name="loss_reviewkd",
        student_channels=[64, 128, 256, 512, 512],
        teacher_channels=[64, 128, 256, 512, 512],
        mid_channel=512,
        hcl_mode="avg",
    ),
    "ImageNet/resnet34_distill_resnet18_dist": resnets(
        STUDENT_LABELS, {"DistillationDISTLoss": {"weight": 2.0, "model_name_pairs": [BOTH]}}
    ),
}


@pytest.fixture(scope="module")
def components():
    return builders.components()


@pytest.mark.parametrize("name", RECIPES)
def test_paddleclas_s_recipe_is_accepted(name, components):
    assert config.check(RECIPES[name], components) == []


def test_only_evaluation_takes_losses_and_metrics_of_one_network(components):
    wrong = {**RECIPES["PULC/car_exists"], "Loss": {"Train": [MUTUAL, {"CELoss": None}]}}
    (line,) = config.check(wrong, components)
    assert line.startswith("Loss.Train.1.CELoss: expected DistillationCELoss, ")


def test_layers_of_a_relational_loss_have_to_be_returned(components):
    (line,) = config.check(relational("blocks[2].expand_conv"), components)
    assert line == (
        "Loss.Train.1.DistillationRKDLoss.student_keepkeys: expected an output of Student (logits,"
        " blocks[2].expand_conv), got 'blocks[3].expand_conv'; add it to return_patterns of Student"
    )


def test_a_relational_loss_can_compare_the_logits(components):
    raw = relational("blocks[3].expand_conv")
    loss = {"student_keepkeys": ["logits"], "teacher_keepkeys": ["logits"]}
    raw["Loss"] = {"Train": [{"DistillationRKDLoss": {**loss, "model_name_pairs": [["Student", "Teacher"]]}}]}
    assert config.check(raw, components) == []


@pytest.mark.parametrize("name", ["Res2Net200_vd_26w_4s", "RegNetY_16GF", "EfficientFormer_L1", "SwinTransformer_tiny"])
def test_networks_that_only_paddleclas_has_are_reported(name, components):
    (line,) = config.check(recipe(10, teacher={"name": name}), components)
    assert line == (
        f"Arch.models.0.Teacher.name: expected the name of an architecture, got {name!r};"
        " ppzoo does not have this network of PaddleClas, choose one that `ppzoo models` lists"
    )


def test_the_attention_of_paddleclas_s_files_is_a_loss(components):
    attention = {"name": "AttentionModel", "models": [{"ResNet34": {"name": "ResNet34"}}]}
    lines = config.check(recipe(10, {"AFDLoss": None}, teacher=attention), components)
    assert "got 'AttentionModel'; name the network inside it" in lines[0]
    assert any(line.endswith("base_loss_name AFDLoss, and the layers as s_keys and t_keys") for line in lines)
