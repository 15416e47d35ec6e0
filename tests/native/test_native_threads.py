"""Operators return correct results, and do not hang, for any number of threads that OpenMP creates."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ppzoo import native

PROGRAM = """
import numpy as np, paddle
from paddle.nn import functional as F
from ppzoo import native
native.set_mode("on")
from ppzoo.native import operators

random = np.random.default_rng(0)

def tensor(*shape):
    made = paddle.to_tensor(random.standard_normal(shape, dtype=np.float32))
    made.stop_gradient = False
    return made

def agree(ours, theirs, *operands):
    dy = tensor(*theirs.shape)
    pairs = [(ours, theirs)]
    pairs += zip(paddle.grad([ours], operands, [dy]), paddle.grad([theirs], operands, [dy]))
    for found, expected in pairs:
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())

# oneDNN's, pointwise, depthwise and winograd's convolutions, and the linear layer.
CONVOLUTIONS = [(3, 16, 3, 2, 1), (32, 48, 1, 1, 1), (32, 32, 3, 1, 32), (32, 32, 3, 1, 1)]
for channels, out, kernel, stride, groups in CONVOLUTIONS:
    x, w = tensor(4, channels, 24, 24), tensor(out, channels // groups, kernel, kernel)
    pad = kernel // 2
    geometry = [stride, stride, pad, pad, pad, pad, 1, 1, groups]
    agree(operators.convolve(x, w, None, geometry), F.conv2d(x, w, stride=stride, padding=pad, groups=groups), x, w)
x, w, b = tensor(256, 300), tensor(300, 200), tensor(200)
agree(operators.linear(x, w, b), F.linear(x, w, b), x, w, b)
x = tensor(8, 32, 24, 24)
agree(operators.activate(x, "relu"), F.relu(x), x)
agree(operators.max_pool(x, [2, 2, 2, 2, 0, 0, 0, 0, 0]), F.max_pool2d(x, 2), x)
for place in (0, 50000, 99999):
    values = paddle.ones([100000])
    values[place] = float("nan")
    assert not operators.all_finite([values])
print("agreed")
"""

SETTINGS = [
    {"OMP_THREAD_LIMIT": "1"},
    {"OMP_NUM_THREADS": "4", "OMP_THREAD_LIMIT": "3"},
    {"OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "4"},
    {"OMP_MAX_ACTIVE_LEVELS": "0"},
    {"KMP_LIBRARY": "serial"},
    {"KMP_DEVICE_THREAD_LIMIT": "1"},
    {"OMP_NUM_THREADS": "3"},
    {"OMP_NUM_THREADS": "2,2", "OMP_MAX_ACTIVE_LEVELS": "2"},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_results_for_any_number_of_threads(settings, native_on):
    environment = {**os.environ, "OMP_NUM_THREADS": "2", native.MODE_VARIABLE: "on", **settings}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("agreed\n")
