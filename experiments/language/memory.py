"""The memory of a training step, as XLA plans it."""

import keras


def step_memory(model, corpus):
    """MB of a step's arguments, results and temporary buffers.

    The peak of the process would be that of all runs it has made so far.

    Returns:
        Number, or None except for JAX on one device.
    """
    if keras.backend.backend() != "jax":
        return None
    import jax

    from keras_laurel.costs.tpu.keras_programs import make_program

    if len(jax.devices()) > 1:
        return None
    batch = (*next(iter(corpus.training(0))), None)
    step, state, arguments, donated = make_program("train", model, batch)
    state = jax.tree.map(lambda variable: variable.value, state)
    lowered = jax.jit(step, donate_argnums=donated).lower(state, *arguments)
    sizes = lowered.compile().memory_analysis()
    total = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    total += sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
    return total / 1e6
