"""Trace a program of a model whose variables never get a value."""

import jax

from keras_laurel.costs.tpu import keras_programs
from keras_laurel.distribution.layout_maps import parts

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
        shardings = None, jax.tree.map(lambda s: s.sharding, state)
        step = jax.jit(
            function,
            donate_argnums=donated,
            out_shardings=shardings if 0 in donated else None,
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
        # Raises where XLA would name neither the weight nor what to do.
        parts(variable, layout, distribution.device_mesh)
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
        _check_batch(tensor, layout)
        return jax.ShapeDtypeStruct(
            tensor.shape, tensor.dtype, sharding=layout.backend_layout
        )

    return shape


def _check_batch(tensor, layout):
    mesh = layout.device_mesh
    sizes = dict(zip(mesh.axis_names, mesh.shape))
    count = sizes.get(layout.axes[0], 1)
    if tensor.shape[0] % count:
        raise ValueError(
            f"Received a global batch of {tensor.shape[0]} for a mesh of "
            f"{sizes}; expected a multiple of {count}, since each of its "
            "parts takes as many samples. Choose another batch size."
        )
