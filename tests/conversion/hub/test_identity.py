"""Every transformer computes the same after conversion, to the bit."""

import keras
import numpy as np
import pytest

import keras_laurel
from tests.backends import rows
from tests.conversion.hub.checks import ALL
from tests.conversion.hub.checks import GRANULARITIES
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import prototype

pytestmark = pytest.mark.usefixtures("quick_compilation")

# One of each build.
FEW = ("GPT2", "GPTNeoX", "Gemma3", "Gemma4", "Mixtral", "Qwen")

SHORT = dict(batch=1, length=3)


# RWKV7 asks for kernels.
@pytest.mark.filterwarnings("ignore:The 'rwkv_ops' package")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", rows(ALL, FEW))
def test_no_bit_changes(name, dtype):
    family = ALL[name]
    x = family.inputs(**SHORT)
    expected = None
    for granularity in granularities(family, dtype):
        keras.utils.set_random_seed(0)
        backbone = family.backbone(dtype)
        if expected is None:
            expected = logits(backbone, x)
            assert np.isfinite(expected).all() and np.ptp(expected) > 0
        layer = prototype("rw+lr+pa")
        result = keras_laurel.laurelize(
            backbone, layer, granularity=granularity
        )
        assert result is backbone
        np.testing.assert_array_equal(logits(backbone, x), expected)


def granularities(family, dtype):
    """In float32 a block is enough, for time; its rounding is the finer."""
    by_call_only = family.name not in ("RWKV7", "Gemma4Vision")
    return GRANULARITIES if by_call_only and dtype != "float32" else ("block",)
