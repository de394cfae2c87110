"""Measure the footprint of a model."""

import math

import keras

from keras_laurel.checks import check_integer
from keras_laurel.checks import check_model
from keras_laurel.costs.keras_products import product_flops
from keras_laurel.costs.model_inputs import sized_inputs
from keras_laurel.costs.report import ConnectionFootprint
from keras_laurel.costs.report import Footprint


def footprint(
    model: keras.Model,
    baseline: keras.Model | None = None,
    batch_size: int = 1,
    sequence_length: int | None = None,
) -> Footprint:
    """Return the cost of a model, and the share of LAuReL in it.

    The cost consists of parameters, floating point operations of a forward
    pass and of a training step, and bytes that LAuReL keeps. All are counted
    from shapes, by formulas. Nothing is computed and variables need no
    values, so the footprint of a model with billions of parameters can be
    found on a laptop: build it in
    `keras.StatelessScope(initialize_variables=False)`.

    These are counted:

    - Parameters: all weights, as in `model.count_params()`.
    - Operations: matrix products, convolutions and attention of the model,
      in which a multiplication and an addition count as two; and all
      operations of LAuReL connections except the plain addition. Norms,
      activation functions and softmax of the model are left out; for
      ResNet-50 and Llama 3 the result is within 1 % of XLA's count. Products
      that bypass `keras.ops` by a function of the backend are not counted.
    - Training: three times the forward pass, since a product has two
      gradients. This assumes that all weights are trained and that nothing is
      rematerialized.
    - Kept bytes: the memory that LAuReL's backward pass needs, beyond the
      tensors that layers read, which a model with plain additions keeps too.
      On PyTorch this includes f(x). It is counted in the compute dtype: with
      bfloat16, tensors that are widened to float32 are assumed to be widened
      again in the backward pass, as XLA's fusions do.
    - History bytes: the previous activations, or their low-rank projections,
      that a forward pass holds for later connections. In training these
      activations are kept anyway.

    Args:
        model: A built `keras.Model`, converted or not: functional, sequential,
            of KerasCV or KerasHub, or of your own class.
        baseline: A `keras.Model` to compare with, such as the plain one.
            Without it, the added cost is that of the LAuReL connections.
        batch_size: Integer of at least 1.
        sequence_length: Integer of at least 1, the length of sequences, for
            models that leave it undefined.

    Returns:
        A `Footprint`: print it, or use its attributes, `to_dict()` and
        `to_csv(path)`.

    Raises:
        ValueError: if a size is not such an integer, if a size of the inputs
            is undefined, or if the model has products in a loop (recurrent
            layers), whose number does not follow from shapes.

    Example:

    >>> x = keras.Input((8, 64))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> model = keras.Model(x, keras_laurel.LaurelLR(rank=4)([x, fx]))
    >>> cost = keras_laurel.costs.footprint(model, batch_size=2)
    >>> cost.parameters, cost.laurel_parameters
    (4672, 512)
    """
    check_model("model", model)
    batch_size = check_integer("batch_size", batch_size, 1)
    sequence_length = check_integer(
        "sequence_length", sequence_length, 1, optional=True
    )
    if baseline is not None:
        check_model("baseline", baseline)
        baseline = _measure(baseline, None, batch_size, sequence_length)
    return _measure(model, baseline, batch_size, sequence_length)


def _measure(model, baseline, batch_size, sequence_length):
    inputs = sized_inputs(model, batch_size, sequence_length)
    calls = []

    def run(inputs):
        # PyTorch may run it again, see `product_flops`.
        calls.clear()
        return model(inputs)

    def note(layer, terms, carried):
        # Around a block that hides f: `[y, skip, x]`.
        around = len(terms) == 3
        form = {
            "is_around_block": around,
            "has_other_skip": around and terms[1] is not terms[2],
        }
        positions = math.prod(terms[1].shape[:-1])
        calls.append((layer, positions, form))

    products = product_flops(run, inputs, note)
    connections = _connections(calls)
    forward_flops = products + sum(
        positions * connection.sum_flops
        for connection, positions in connections.values()
    )
    return Footprint(
        model=model.name,
        batch_size=batch_size,
        sequence_length=sequence_length,
        parameters=sum(math.prod(weight.shape) for weight in model.weights),
        forward_flops=forward_flops,
        training_flops=3 * forward_flops,
        connections=tuple(
            ConnectionFootprint.of(layer, connection, positions)
            for layer, (connection, positions) in connections.items()
        ),
        baseline=baseline,
    )


def _connections(calls):
    """Return `(connection, positions)` by layer, over all its calls."""
    connections = {}
    for layer, positions, form in calls:
        _, before = connections.get(layer, (None, 0))
        connection = layer.cost(**form)
        connections[layer] = (connection, before + positions)
    return connections
