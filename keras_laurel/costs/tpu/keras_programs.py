"""The programs that Keras runs on JAX, as functions of a model's state.

This module uses private parts of Keras and KerasHub:

- `Model._symbolic_build`, which makes the variables of metrics, loss and
  optimizer before the first batch;
- `CausalLM._build_cache`, which reads a prompt and fills the cache.

`tests/costs/tpu/test_keras_programs.py` fails if one of them changes.
"""

import functools

import jax
import keras


def make_program(name, model, data):
    """Return `(function, state, arguments, donated)` of a model's program.

    Args:
        name: One of `compiler.PROGRAMS`.
        model: A model whose variables may be without values.
        data: `(x, y, sample_weight)`, shapes for a batch.

    Returns:
        `state` is a tuple of lists of variables, `donated` the indices of the
        arguments that the program may overwrite. `function(state,
        *arguments)` returns its results, and also the new state if the state
        is donated.
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
    """Make the variables that a program needs and the model still lacks.

    Raises:
        ValueError: if the model does not have the program.
    """
    if name == "train":
        if not getattr(model, "compiled", False):
            raise ValueError(
                "Argument `build` must return a model with an optimizer and a "
                'loss for program="train". Received: a model that is not '
                "compiled. Call `model.compile(...)` in `build`, after "
                "`laurelize`."
            )
        model._symbolic_build(data_batch=data)
    elif not model.built:
        model.build(keras.tree.map_structure(lambda x: x.shape, data[0]))
    generates = hasattr(model, "_build_cache") and "token_ids" in data[0]
    if name in ("prefill", "decode") and not generates:
        raise ValueError(
            "Argument `build` must return a KerasHub CausalLM that generates "
            f'with a cache, and `x` must have "token_ids", for '
            f"program={name!r}. Received: a {type(model).__name__}. Use "
            '"predict" for other models.'
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
    """Return the arguments of a step for the last token of a full cache.

    This is the most expensive step.
    """
    state = keras.tree.map_structure(
        lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), _state(model)
    )
    prompt = jax.ShapeDtypeStruct(token_ids.shape, token_ids.dtype)
    _, cache = jax.eval_shape(functools.partial(_prefill, model), state, prompt)
    token = keras.KerasTensor((token_ids.shape[0], 1), token_ids.dtype)
    index = keras.KerasTensor((), "int32")
    return token, cache, index
