"""Checks of a model or a request, before anything is computed."""

from keras_laurel.conversion.keras_internals import flatten_layers


def check_causal_lm(causal_lm):
    """Raise unless a model reads only tokens and has a tokenizer."""
    import keras_hub

    if not isinstance(causal_lm, keras_hub.models.CausalLM):
        raise ValueError(
            "Argument `causal_lm` must be a `keras_hub.models.CausalLM`. "
            f"Received: causal_lm={causal_lm!r}. Pass, for example, "
            "`keras_hub.models.CausalLM.from_preset(...)`."
        )
    names = {"token_ids", "padding_mask", "position_ids"}
    others = [x.name for x in causal_lm.inputs if x.name not in names]
    if others:
        raise ValueError(
            "Argument `causal_lm` must be a model that reads tokens only. "
            f"Received: {causal_lm.name!r}, which also reads "
            f"{', '.join(others)}. Use the family's text-only backbone."
        )
    if causal_lm.preprocessor is None:
        raise ValueError(
            "Argument `causal_lm` must have a preprocessor, whose tokenizer "
            f"is used. Received: {causal_lm.name!r} without a preprocessor. "
            "Set `causal_lm.preprocessor`."
        )


def check_length(causal_lm, max_length):
    """Raise if a model has fewer learned positions than `max_length`.

    JAX would use the last position for all later tokens, without an error. The
    `max_sequence_length` of a backbone with rotary positions is no limit.
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
            "Argument `max_length` must be at most the number of learned "
            f"positions. Received: max_length={max_length}, while "
            f"{causal_lm.name!r} has {positions} positions. Pass "
            f"`max_length={positions}` or less."
        )


def check_continuations(requests, max_length):
    """Raise for a continuation that is empty or too long."""
    for text, _, tokens in requests:
        if not tokens:
            raise ValueError(
                "A continuation must have at least one token. Received: "
                f"{text!r}, the context and the continuation, which "
                "have no token more than the context. Change `doc_to_choice` "
                "or `target_delimiter` of the task."
            )
        if len(tokens) > max_length:
            raise ValueError(
                f"A continuation must have at most `max_length` tokens, "
                f"{max_length}. Received: a continuation of {len(tokens)} "
                f"tokens, {text!r}. Pass a larger `max_length`, or change the "
                "task."
            )


def check_generates(causal_lm):
    """Raise for RWKV, whose prompts differ from those of other models."""
    import keras_hub

    if isinstance(causal_lm, keras_hub.models.RWKV7CausalLM):
        raise ValueError(
            "`generate_until` must have an attention model. Received: "
            f"{causal_lm.name!r}, an RWKV model. Choose tasks that compare "
            "log-likelihoods, such as multiple choice."
        )
