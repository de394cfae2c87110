"""Trace a program of a model whose variables never get a value."""

import jax

from keras_laurel.tpu import keras_programs

# What reading an abstract value raises.
_NO_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def lower(build, data, program, distribution):
    """The `jax.stages.Lowered` of a program; see `compile_program`."""
    with distribution.scope():
        model = _build_without_values(build, data, program)
        function, state, arguments, donated = keras_programs.make_program(
            program, model, data
        )
        state = jax.tree.map(_variable_shape(distribution), state)
        arguments = jax.tree.map(_data_shape(distribution), arguments)
        state_shardings = jax.tree.map(lambda s: s.sharding, state)
        step = jax.jit(
            function,
            donate_argnums=donated,
            out_shardings=(None, state_shardings),
        )
        return step.lower(state, *arguments)


def _build_without_values(build, data, program):
    """The model, its variables abstract: they have a shape and no memory."""
    models = []

    def trace():
        model = build()
        keras_programs.complete(program, model, data)
        models.append(model)

    try:
        jax.eval_shape(trace)
    except _NO_VALUE as error:
        raise ValueError(
            "`build` read the value of a weight, or of an optimizer's "
            "learning rate, and here they have none. Build the model from "
            "its configuration, convert it before it is compiled (a KerasHub "
            "task with `compile=False`), and compile it last."
        ) from error
    return models[0]


def _variable_shape(distribution):
    def shape(variable):
        layout = distribution.get_variable_layout(variable)
        return jax.ShapeDtypeStruct(
            variable.shape,
            variable.dtype,
            sharding=layout.backend_layout,
        )

    return shape


def _data_shape(distribution):
    def shape(tensor):
        if not tensor.shape:
            return jax.ShapeDtypeStruct((), tensor.dtype)
        layout = distribution.get_data_layout(tensor.shape)
        return jax.ShapeDtypeStruct(
            tensor.shape, tensor.dtype, sharding=layout.backend_layout
        )

    return shape
