"""The operations that PyTorch dispatches for a connection, run eagerly."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_laurel

if keras.config.backend() != "torch":
    pytest.skip("counts PyTorch's operations", allow_module_level=True)

import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Beyond the addition, forward and backward. For RW: a softmax, a product for
# both weights and one for each term; the gradients of these take twice as many,
# and one puts those of both weights together.
MOST = {"rw": 11, "lr": 14, "pa": 21, "rw+lr": 30, "rw+lr+pa": 42}


def operations(layer, tensors):
    from torch_step import Counting

    layer(tensors)
    with Counting() as counting:
        torch.sum(layer(tensors)).backward()
    return counting.operations


@pytest.mark.parametrize("variant", MOST)
def test_a_connection_takes_few_operations(variant, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    rng = np.random.default_rng(0)
    count = 4 if "pa" in variant else 2
    tensors = [
        torch.tensor(rng.normal(size=(2, 3, 8)), dtype=torch.float32)
        for _ in range(count)
    ]
    for tensor in tensors:
        tensor.requires_grad_()
    sizes = {"rank": 2} if "lr" in variant else {}
    if "pa" in variant:
        sizes["num_activations"] = 3
    layer = keras_laurel.get(variant, **sizes)
    plain = operations(keras.layers.Add(), tensors[:2])
    assert operations(layer, tensors) - plain <= MOST[variant]
