"""The operators that an exported program can have: only those that compute, none that access files or run code.

Paddle Inference runs every operator of a program, `save` and `py_func` included, and a program can come from an
untrusted source. Therefore the operators of all blocks are checked before it is loaded, in both formats: PaddlePaddle
3's JSON and PaddlePaddle 2's protocol buffer. Control flow is not allowed, so every program terminates.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppzoo.errors import PpzooError
from ppzoo.files import read_plain_file
from ppzoo.weights.inference_model import MAX_PROGRAM
from ppzoo.weights.protobuf import fields
from ppzoo.weights.weight_file import unique_keys

# PaddlePaddle 2 and 3 use different names: `elementwise_add` and `add`, `reshape2` and `reshape`.
OPERATORS = {
    "inputs, outputs, constants": """
        data feed fetch shadow_output combine assign assign_value fill_constant fill_constant_batch_size_like
        fill_any_like full full_int_array full_like full_with_tensor full_batch_size_like zeros_like ones_like shape
        shape64 size numel arange range linspace eye one_hot one_hot_v2 cast share_data
    """,
    "layers": """
        conv1d conv2d conv3d depthwise_conv2d conv2d_transpose depthwise_conv2d_transpose deformable_conv pool2d
        pool3d max_pool2d_with_index batch_norm sync_batch_norm layer_norm group_norm instance_norm rms_norm lrn fc
        linear mul matmul matmul_v2 matmul_with_flatten bmm mv dot einsum addmm dropout
    """,
    "activations": """
        relu relu6 leaky_relu prelu elu selu celu gelu silu swish mish sigmoid logsigmoid hard_sigmoid hardsigmoid
        hard_swish hardswish hardtanh brelu tanh tanh_shrink softmax log_softmax softplus softsign softshrink
        hard_shrink hardshrink thresholded_relu maxout
    """,
    "element-wise arithmetic": """
        add subtract multiply divide floor_divide remainder elementwise_add elementwise_sub elementwise_mul
        elementwise_div elementwise_floordiv elementwise_mod elementwise_max elementwise_min elementwise_pow maximum
        minimum fmax fmin add_n sum scale clip pow abs exp expm1 log log2 log10 log1p sqrt rsqrt square reciprocal
        sign floor ceil round trunc sin cos tan atan erf lerp increment
    """,
    "comparison, logic, selection": """
        equal not_equal less_than less_equal greater_than greater_equal logical_and logical_or logical_not logical_xor
        bitwise_and bitwise_or bitwise_not isnan isnan_v2 isinf isinf_v2 isfinite isfinite_v2 where masked_fill
    """,
    "reduction, sorting": """
        mean max min amax amin prod all any reduce_mean reduce_sum reduce_max reduce_min reduce_prod reduce_all
        reduce_any logsumexp cumsum cumprod p_norm norm frobenius_norm squared_l2_norm arg_max arg_min argmax argmin
        argsort top_k top_k_v2 topk
    """,
    "shape, indexing, resampling": """
        reshape reshape2 transpose transpose2 flatten flatten2 flatten_contiguous_range squeeze squeeze2 unsqueeze
        unsqueeze2 expand expand_v2 expand_as expand_as_v2 tile concat stack unstack split split_with_num slice
        strided_slice crop crop_tensor gather gather_nd index_select index_sample take_along_axis roll flip reverse
        pad pad2d pad3d unfold fold shuffle_channel channel_shuffle pixel_shuffle pixel_unshuffle space_to_depth tril
        triu tril_triu diag diag_v2 meshgrid unbind bilinear_interp bilinear_interp_v2 nearest_interp
        nearest_interp_v2 bicubic_interp bicubic_interp_v2 linear_interp linear_interp_v2 affine_grid grid_sample
        grid_sampler
    """,
    "quantized networks": """
        quantize_linear dequantize_linear fake_quantize_dequantize_abs_max
        fake_quantize_dequantize_moving_average_abs_max fake_channel_wise_quantize_dequantize_abs_max
        moving_average_abs_max_scale
    """,
}
ALLOWED = frozenset(name for names in OPERATORS.values() for name in names.split())
PARAMETER = "p"  # a parameter in PaddlePaddle 3's format
DIALECT_PREFIXES = ("0.", "1.")  # PaddlePaddle 3's abbreviations of "builtin." and "pd_op."
MAX_SHOWN_LENGTH = 60  # of an operator's name in an error message

_PARSE_ERRORS = (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError)


def require_allowed_operators(program: Path) -> None:
    """Refuse a program that could do anything other than compute.

    Raises:
        PpzooError: it has an operator that is not allowed, is damaged, or is larger than `MAX_PROGRAM`.
        OSError: it cannot be read.
    """
    if program.stat().st_size > MAX_PROGRAM:
        raise PpzooError(
            f"{program} is refused: expected a program of at most {MAX_PROGRAM >> 20} MB, got a larger one"
        )
    content = read_plain_file(program)
    try:
        names = list(_operators_of_json(content) if program.suffix == ".json" else _operators_of_protobuf(content))
    except _PARSE_ERRORS as error:
        raise PpzooError(f"{program} is damaged, or not a PaddlePaddle program; export the network again") from error
    refused = next((name for name in names if name not in ALLOWED), None)
    if refused is not None:
        raise PpzooError(
            f"{program} is refused: expected operators that only compute, got {refused[:MAX_SHOWN_LENGTH]!r}; do not"
            " use an export from an untrusted source, and report the operator if a network needs it"
        )


def _operators_of_json(content: bytes) -> Iterator[str]:
    """Yield the operator names of all blocks at any depth."""
    remaining: list[Any] = [json.loads(content.decode(), object_pairs_hook=unique_keys)["program"]]
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            for operator in value.get("ops", []):
                yield _without_dialect(operator["#"])
            remaining += value.values()
        elif isinstance(value, list):
            remaining += value


def _without_dialect(name: str) -> str:
    """Return an operator's name without dialect prefix and suffix `_` (in place); without a prefix, it is unchanged.

    For a parameter, "data" is returned, the name of the operator that reads an input.
    """
    if name == PARAMETER:
        return "data"
    return name[2:].removesuffix("_") if name.startswith(DIALECT_PREFIXES) else name


def _operators_of_protobuf(content: bytes) -> Iterator[str]:
    """Yield the operator types of all blocks of a ProgramDesc (framework.proto)."""
    for block in fields(content)[1]:
        for operator in fields(block).get(4, []):
            (name,) = fields(operator)[3]  # exactly one: with two, another parser could use the other one
            yield name.decode()
