"""From a model to its footprint."""

import math

from keras_laurel.checks import check_integer
from keras_laurel.checks import check_model
from keras_laurel.costs.keras_products import product_flops
from keras_laurel.costs.model_inputs import sized_inputs
from keras_laurel.costs.report import ConnectionFootprint
from keras_laurel.costs.report import Footprint


def footprint(model, baseline=None, batch_size=1, sequence_length=None):
    """What a model costs, and what LAuReL has to do with it.

    Parameters, floating point operations of a forward pass and of a training
    step, and bytes that LAuReL keeps: from shapes, by formulas. Nothing is
    computed and no variable needs a value, so that a model of some billion
    parameters, built in `keras.StatelessScope(initialize_variables=False)`,
    has its footprint on a laptop.

    What is counted:

    - Parameters: all weights, as `model.count_params()` has them.
    - Operations: matrix products, convolutions and attention of the model,
      a multiplication and an addition as two; and all that LAuReL
      connections do beyond a plain addition. Norms, activation functions and
      softmax of the model are left out, which for ResNet-50 and Llama 3 is
      within 1 % of what XLA counts. A product that the model takes past
      `keras.ops`, by a function of the backend, is not seen.
    - Training: three times the forward pass, a product having two gradients.
      So everything is taken to be trained, and nothing rematerialised.
    - Kept bytes: what LAuReL's backward pass needs beyond what a model with
      plain additions keeps, which is what its layers read. With PyTorch that
      includes f(x). In the compute dtype: with bfloat16, what is widened to
      float32 on the way is taken to be widened again, as XLA's fusions do.
    - History bytes: previous activations, or their codes, that a forward pass
      holds for the connections to come. In training those activations are
      kept anyway.

    Args:
        model: A built `keras.Model`, converted or not: functional, sequential,
            of KerasCV or KerasHub, or a class of your own.
        baseline: A `keras.Model` to compare with, such as the plain one.
            Without it, what is added is what LAuReL has itself.
        batch_size: Integer of at least 1.
        sequence_length: Integer of at least 1, the length of sequences, for
            models that leave it undefined.

    Returns:
        A `Footprint`: print it, or use its attributes, `to_dict()` and
        `to_csv(path)`.

    Raises:
        ValueError: for sizes that are no such integers; if a size of the
            inputs is undefined, or if the model has products in a loop
            (recurrent layers), which shapes do not count.

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
    """`(connection, positions)` by layer, over all calls of the layer."""
    connections = {}
    for layer, positions, form in calls:
        _, before = connections.get(layer, (None, 0))
        connection = layer.cost(**form)
        connections[layer] = (connection, before + positions)
    return connections
