"""Distributions by name, and FSDP's choice of an axis."""

import doctest

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel import distribution
from tests.distribution.meshes import mesh

jax_only = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
)
EIGHT = [f"cpu:{i}" for i in range(8)]


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((64, 32), ("batch", None)),
        ((30, 64), (None, "batch")),
        ((3, 3, 16, 32), (None, None, None, "batch")),
        ((30, 100), (None, None)),
        ((8, 8), (None, None)),
        ((), ()),
    ],
)
def test_fsdp_divides_the_longest_axis_that_divides(shape, expected):
    fsdp = distribution.FullyShardedDataParallel(mesh(8), minimum_size=100)
    variable = keras.Variable(np.zeros(shape))
    assert fsdp.get_variable_layout(variable).axes == expected


def test_fsdp_divides_activations_of_the_models_own_layers():
    fsdp = distribution.FullyShardedDataParallel(mesh(8))
    assert fsdp.get_tensor_layout("block_1/output").axes == ("batch",)
    assert fsdp.get_tensor_layout("block_1/dense/output") is None
    inside = distribution.FullyShardedDataParallel(
        mesh(8), activations=".*/dense/output"
    )
    assert inside.get_tensor_layout("block_1/dense/output") is not None
    assert inside.get_tensor_layout("block_1/output") is None


@jax_only
@pytest.mark.parametrize(
    "kind, shape, expected",
    [
        ("data", None, keras.distribution.DataParallel),
        ("data", (8,), keras.distribution.DataParallel),
        ("fsdp", None, distribution.FullyShardedDataParallel),
        ("fsdp", (np.int64(8),), distribution.FullyShardedDataParallel),
        ("tensor", (4, 2), keras.distribution.ModelParallel),
    ],
)
def test_distributions_by_name(kind, shape, expected):
    made = distribution.make_distribution(
        kind, shape, EIGHT, distribution.llama_layout_map
    )
    assert type(made) is expected
    assert made.device_mesh.shape == (shape or (8,))
    assert made.batch_dim_name == "batch"


@jax_only
@pytest.mark.parametrize(
    "arguments, message",
    [
        (("pipeline",), r"one of \['data', 'fsdp', 'tensor'\]"),
        (("data", (4, 2)), r"tuple of 1 sizes.*mesh_shape=\(4, 2\), kind='d"),
        (("data", 8), "multiply to the 8 devices. Received: mesh_shape=8"),
        (("tensor", (-4, -2)), r"2 sizes.*Received: mesh_shape=\(-4, -2\)"),
        (("tensor", ("4", 2)), r"2 sizes.*Received: mesh_shape=\('4', 2\)"),
        (("tensor",), "tuple of 2 sizes.*Received: mesh_shape=None"),
        (("fsdp", (6,)), "the 8 devices. Received: .*a mesh of 6 devices"),
        (("tensor", (4, 2)), "must be a function.*layout_map=None"),
        (("data", None, EIGHT, 5), "must be a function.*layout_map=5"),
        (("data", None, ["foo"]), "such as 'cpu:0'.*Received: 'foo' in `dev"),
        (("data", None, [None]), "such as 'cpu:0'.*Received: None in `dev"),
        (
            ("data", None, EIGHT, None, "no"),
            "must be True or False. Received: auto_shard_dataset='no'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    devices = {"devices": EIGHT} if len(arguments) < 3 else {}
    with pytest.raises(ValueError, match=message):
        distribution.make_distribution(*arguments, **devices)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can")
def test_other_backends_are_refused():
    with pytest.raises(ValueError, match="needs the JAX backend"):
        distribution.make_distribution("fsdp", devices=EIGHT)


@pytest.mark.parametrize("name", distribution.__all__)
def test_public_names_are_documented_and_examples_run(name):
    docstring = getattr(distribution, name).__doc__
    assert len(docstring.strip()) > 40
    if "make_distribution" in docstring and keras.backend.backend() != "jax":
        pytest.skip("`make_distribution` is JAX's")
    names = {"keras": keras, "keras_laurel": keras_laurel}
    examples = doctest.DocTestParser().get_doctest(
        docstring, names, name, None, None
    )
    assert not doctest.DocTestRunner().run(examples).failed
