"""The programs that Keras runs on JAX, as functions of a model's state.

The one place that reads what Keras and KerasHub keep private of them:

- `Model._symbolic_build`, which makes the variables of metrics, loss and
  optimizer before the first batch;
- `CausalLM._build_cache`, which reads a prompt and fills the cache.

Both are pinned by `tests/costs/tpu/test_keras_programs.py`.
"""

import functools

import jax
import keras


def make_program(name, model, data):
    """`(function, state, arguments, donated)` of a program of a model.

    Args:
        name: One of `compiler.PROGRAMS`.
        model: A model whose variables may be without values.
        data: `(x, y, sample_weight)`, shapes for a batch.

    Returns:
        `state` is a tuple of lists of variables, `donated` the arguments
        that the program may overwrite. `function(state, *arguments)` returns
        its results, and beside them the new state where that is donated.
    """
    if name == "train":
        return model.train_step, _training_state(model), (data,), (0,)
    if name == "predict":
        function = functools.partial(_predict, model)
        return function, _state(model), (data[:1],), (0,)
    token_ids = data[0]["token_ids"]
    if name == "prefill":
        function = functools.partial(_prefill, model)
        return function, _state(model), (token_ids,), ()
    function = functools.partial(_decode, model)
    return function, _state(model), _one_token(model, token_ids), (2,)


def complete(name, model, data):
    """Make the variables that a program needs and the model lacks still.

    Raises:
        ValueError: for a program that the model does not have.
    """
    if name == "train":
        if not getattr(model, "compiled", False):
            raise ValueError(
                'Received program="train" and a model that is not compiled; '
                "expected `build` to return one with an optimizer and a loss. "
                "Call `model.compile(...)` in it, after `laurelize`."
            )
        model._symbolic_build(data_batch=data)
    elif not model.built:
        model.build(keras.tree.map_structure(lambda x: x.shape, data[0]))
    generates = hasattr(model, "_build_cache") and "token_ids" in data[0]
    if name in ("prefill", "decode") and not generates:
        raise ValueError(
            f"Received program={name!r} and a {type(model).__name__}; "
            "expected a KerasHub CausalLM that generates with a cache, and "
            '`x` with "token_ids". Use "predict" for other models.'
        )


def _training_state(model):
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def _state(model):
    return model.trainable_variables, model.non_trainable_variables


def _predict(model, state, data):
    outputs, non_trainable = model.predict_step(state, data)
    return outputs, (state[0], non_trainable)


def _prefill(model, state, token_ids):
    with _values(model, state):
        return model._build_cache(token_ids)


def _decode(model, state, token_ids, cache, index):
    with _values(model, state):
        return model.call_with_cache(token_ids, cache, index)


def _values(model, state):
    pairs = [
        pair
        for variables, values in zip(_state(model), state, strict=True)
        for pair in zip(variables, values, strict=True)
    ]
    return keras.StatelessScope(state_mapping=pairs)


def _one_token(model, token_ids):
    """The last token of a full cache: what a step costs at most."""
    state = keras.tree.map_structure(
        lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), _state(model)
    )
    prompt = jax.ShapeDtypeStruct(token_ids.shape, token_ids.dtype)
    _, cache = jax.eval_shape(functools.partial(_prefill, model), state, prompt)
    token = keras.KerasTensor((token_ids.shape[0], 1), token_ids.dtype)
    index = keras.KerasTensor((), "int32")
    return token, cache, index
