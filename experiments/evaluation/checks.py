"""Checks of a model or a request, before anything is computed."""

import keras

from keras_laurel.conversion.keras_internals import flatten_layers


def check_causal_lm(causal_lm):
    """Raises unless it is a model that reads tokens, and has a tokenizer."""
    import keras_hub

    if not isinstance(causal_lm, keras_hub.models.CausalLM):
        raise ValueError(
            f"`HarnessLM` got {causal_lm!r}; it needs a "
            "`keras_hub.models.CausalLM`, such as "
            "`keras_hub.models.CausalLM.from_preset(...)` returns."
        )
    names = {"token_ids", "padding_mask", "position_ids"}
    others = [x.name for x in causal_lm.inputs if x.name not in names]
    if others:
        raise ValueError(
            f"`HarnessLM` got {causal_lm.name!r}, which also reads "
            f"{', '.join(others)}; it needs a model that reads tokens only. "
            "Use the family's text-only backbone."
        )
    if causal_lm.preprocessor is None:
        raise ValueError(
            f"`HarnessLM` got {causal_lm.name!r} without a preprocessor; it "
            "needs one for its tokenizer. Set `causal_lm.preprocessor`."
        )


def check_length(causal_lm, max_length):
    """Raises where learned positions end before `max_length`.

    JAX reads the last one for all behind it, without an error. Backbones with
    rotary positions may have a `max_sequence_length` too, which ends nothing.
    """
    from keras_hub.layers import PositionEmbedding

    positions = min(
        (
            layer.sequence_length
            for layer in flatten_layers(causal_lm.backbone)
            if isinstance(layer, PositionEmbedding)
        ),
        default=max_length,
    )
    if max_length > positions:
        raise ValueError(
            f"`HarnessLM` got `max_length` {max_length}; {causal_lm.name!r} "
            f"has {positions} positions. Pass `max_length={positions}` or less."
        )


def check_divides(batch_size):
    """Raises where `keras.distribution` cannot divide the batches."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return
    mesh = distribution.device_mesh
    axes = dict(zip(mesh.axis_names, mesh.shape))
    devices = axes.get(distribution.batch_dim_name, 1)
    if batch_size % devices:
        raise ValueError(
            f"`HarnessLM` got `batch_size` {batch_size}; "
            f"`keras.distribution` divides batches among {devices} devices. "
            f"Pass a multiple of {devices}."
        )


def check_continuations(requests, max_length):
    """Raises for a continuation that is empty or does not fit."""
    for text, _, tokens in requests:
        if not tokens:
            raise ValueError(
                f"Received the context and the continuation {text!r}, which "
                "have no token more than the context; expected one at least. "
                "Change `doc_to_choice` or `target_delimiter` of the task."
            )
        if len(tokens) > max_length:
            raise ValueError(
                f"Received a continuation of {len(tokens)} tokens, {text!r}; "
                f"expected {max_length} at most, which is `max_length`. Pass "
                "a larger `max_length`, or change the task."
            )


def check_room(max_tokens, max_length):
    """Raises where generated text would leave no room for a prompt."""
    if not 1 <= max_tokens < max_length:
        raise ValueError(
            f"Received a request for {max_tokens} generated tokens; expected "
            f"1 to {max_length - 1}, less than `max_length` {max_length}. Pass "
            "a larger `max_length`, or a smaller `max_gen_toks`."
        )


def check_generates(causal_lm):
    """Raises for RWKV, whose prompts have another form than all others'."""
    import keras_hub

    if isinstance(causal_lm, keras_hub.models.RWKV7CausalLM):
        raise ValueError(
            f"`generate_until` got {causal_lm.name!r}, an RWKV model; "
            "`HarnessLM` generates with attention models only. Choose tasks "
            "that compare log-likelihoods, such as multiple choice."
        )
