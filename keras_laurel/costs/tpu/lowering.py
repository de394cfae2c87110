"""Trace a program of a model whose variables never get a value."""

import jax

from keras_laurel.costs.tpu import keras_programs
from keras_laurel.distribution.layout_maps import parts

# Errors raised by reading an abstract value.
_NO_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def lower(build, data, program, distribution):
    """Return the `jax.stages.Lowered` of a program; see `compile_program`."""
    with distribution.scope():
        model = _build_without_values(build, data, program)
        function, state, arguments, donated = keras_programs.make_program(
            program, model, data
        )
        state = jax.tree.map(_variable_shape(distribution), state)
        arguments = jax.tree.map(_data_shape(distribution), arguments)
        # The new state takes the memory of the donated one, so it is divided
        # in the same way.
        shardings = None, jax.tree.map(lambda s: s.sharding, state)
        step = jax.jit(
            function,
            donate_argnums=donated,
            out_shardings=shardings if 0 in donated else None,
        )
        return step.lower(state, *arguments)


def _build_without_values(build, data, program):
    """Return the model with abstract variables, which take no memory."""
    # `jax.eval_shape` returns shapes only, so the model comes out by a list.
    models = []

    def trace():
        model = build()
        keras_programs.complete(program, model, data)
        models.append(model)

    try:
        jax.eval_shape(trace)
    except _NO_VALUE as error:
        raise ValueError(
            "Argument `build` must not read values of variables, which have "
            "none here. Received: a function that read the value of a weight, "
            "or of an optimizer's learning rate. Build the model from its "
            "configuration, convert it before it is compiled (a KerasHub task "
            "with `compile=False`), and compile it last."
        ) from error
    return models[0]


def _variable_shape(distribution):
    def shape(variable):
        layout = distribution.get_variable_layout(variable)
        # This raises an error that names the weight; XLA's would not.
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
            f"The global batch must be a multiple of {count}, so that all "
            "parts of the mesh take as many samples. Received: a global batch "
            f"of {tensor.shape[0]} for a mesh of {sizes}. Choose another "
            "batch size."
        )
