"""Other ways to compute the same connections, and what they cost on a TPU.

Each idea replaces a function of the library and compiles the training step of
a short version of the paper's 157M model. What came of it is told in
`docs/tpu_costs.md`.

    python -m experiments.costs.tpu_ideas

Needs KERAS_BACKEND=jax and the extra `tpu`; the ideas are written for JAX.
"""

import contextlib
import sys
from unittest import mock

import jax.numpy as jnp
import keras
from keras import ops

from experiments.costs.literal_form import push_activations
from experiments.costs.training_case import TrainingCase
from experiments.files import RESULTS
from experiments.files import made_with
from experiments.files import write_json
from experiments.options import make_parser
from keras_laurel import Laurel
from keras_laurel import equation
from keras_laurel.conversion.blocks.stream import ResidualStream
from keras_laurel.costs.tpu.comparison import overheads

NUM_BLOCKS = 4
KEPT = "f(x) kept for the gradient of alpha"
TOPOLOGY = "v5e:4x4"


def rows_of_a(self, width):
    """A as (r, D), transposed where it is used."""
    self.laurel_a = self.add_weight(
        name="laurel_a",
        shape=(1, self.rank, width),
        initializer="glorot_uniform",
    )
    self.laurel_b = self.add_weight(
        name="laurel_b",
        shape=(self.rank, width),
        initializer="zeros",
        autocast=False,
    )


def transposed_a(self, j):
    return ops.transpose(ops.convert_to_tensor(self.laurel_a)[j])


combine_codes = Laurel.combine_sum


def code_late(self, y, x, skip, carried=None):
    """Compute the connection around a block from activations."""
    activations = enumerate(carried or [])
    codes = [ops.matmul(z, self.down_projection(j)) for j, z in activations]
    return combine_codes(self, y, x, skip, codes)


def scale_apart(self, y, x, skip, carried=None):
    """The connection around a block, beta applied to the wide product."""
    alpha, beta = self._bounded_weights()
    b = ops.convert_to_tensor(self.laurel_b)
    low_rank = ops.matmul(*equation.up_projection(carried, b, self._gamma()))
    return equation.weighted_sum(
        [y, skip, low_rank], [alpha, beta - alpha, beta]
    )


def rematerialised(self, y, x, skip, carried=None):
    """The connection around a block, its low-rank part computed twice."""
    alpha, beta = self._bounded_weights()
    b = ops.convert_to_tensor(self.laurel_b)

    def augmentation(x, a, b, beta):
        codes = [ops.matmul(x, a)]
        return ops.matmul(*equation.up_projection(codes, b, None, beta))

    (x,) = carried
    low_rank = keras.remat(augmentation)(x, self.down_projection(0), b, beta)
    weights = [alpha, beta - alpha, jnp.float32(1.0)]
    return equation.weighted_sum([y, skip, low_rank], weights)


def narrow_sum(weights, tensors, addends, skip_first):
    """The sum in the dtype of the terms."""
    terms, product = tensors[: len(weights)], tensors[len(weights) :]
    first, *others = [x * ops.cast(w, x.dtype) for x, w in zip(terms, weights)]
    if product:
        others.append(ops.matmul(*product))
    return first + sum(others)


def wide_product_sum(weights, tensors, addends, skip_first):
    """The sum, with the product not rounded before it is added."""
    terms, product = tensors[: len(weights)], tensors[len(weights) :]
    first, *others = [ops.cast(x, w.dtype) * w for x, w in zip(terms, weights)]
    if product:
        others.append(jnp.matmul(*product, preferred_element_type="float32"))
    return ops.cast(first + sum(others), terms[0].dtype)


IDEAS = {
    "as it is": {},
    "activations travel, not codes": {
        (Laurel, "combine_sum"): code_late,
        (ResidualStream, "_pushed"): push_activations,
    },
    KEPT: {},
    "beta apart from B": {(Laurel, "combine_sum"): scale_apart},
    "A kept as (r, D)": {
        (Laurel, "_build_low_rank"): rows_of_a,
        (Laurel, "down_projection"): transposed_a,
    },
    "the low-rank part alone rematerialised": {
        (Laurel, "combine_sum"): rematerialised,
        (ResidualStream, "_pushed"): push_activations,
    },
    "combined in bfloat16": {(equation, "_sum"): narrow_sum},
    "the product with B left in float32": {
        (equation, "_sum"): wide_product_sum
    },
}
# Those that change anything there.
VARIANTS = {
    "rw+lr": [
        name for name in IDEAS if name != "activations travel, not codes"
    ],
    "rw": [
        "as it is",
        KEPT,
        "combined in bfloat16",
    ],
    "rw+lr+pa": [
        "as it is",
        "activations travel, not codes",
        KEPT,
        "beta apart from B",
    ],
}


def main():
    make_parser("experiments.costs.tpu_ideas", __doc__).parse_args()
    keras.config.set_dtype_policy("mixed_bfloat16")
    baseline = compile_with("baseline", {})
    rows = [{"variant": "baseline", "cost": baseline.to_dict()}]
    for variant, ideas in VARIANTS.items():
        for idea in ideas:
            print(f"{variant}, {idea} ...", file=sys.stderr)
            cost = compile_with(variant, IDEAS[idea], idea == KEPT)
            added = overheads(cost, baseline)
            rows.append({"variant": variant, "idea": idea, "added": added})
            print(f"{variant}, {idea}: {added}", flush=True)
    about = dict(
        command="python -m experiments.costs.tpu_ideas",
        unit="for each chip; percent added to the baseline",
        setting=f"ablation-157m with {NUM_BLOCKS} blocks, {TOPOLOGY}, global "
        "batch 128, data parallel, mixed bfloat16",
        run_on=made_with(),
    )
    write_json(RESULTS / "tpu_ideas.json", {**about, "rows": rows})


def compile_with(variant, replaced, keep_branch=False):
    case = TrainingCase(
        "ablation-157m",
        variant,
        blocks=NUM_BLOCKS,
        keep_branch=keep_branch,
    )
    with contextlib.ExitStack() as patches:
        for (owner, name), function in replaced.items():
            patch = mock.patch.object(owner, name, function)
            patches.enter_context(patch)
        return case.compile(128, topology=TOPOLOGY)


if __name__ == "__main__":
    main()
