"""Optimizer settings for LAuReL weights."""

import keras

NO_WEIGHT_DECAY = (
    "laurel_residual_weights",
    "laurel_gamma",
    "laurel_norm_scale",
)
"""Names of the weights behind alpha and beta, of gamma and of norm scales."""


def prepare_optimizer(optimizer):
    """Set an optimizer up for a model with LAuReL layers.

    Weight decay leaves alpha, beta, gamma and norm scales alone: it would
    pull gamma, and alpha and beta away from what they have learned, towards
    where they started. `A` and `B` decay as other matrices do. Muon, which
    would orthogonalise `B`, trains it as its AdamW does embeddings.

    A converted task of KerasHub, such as `LaurelLlamaCausalLM`, does this in
    `compile`. Call it for all other models: a converted backbone or ResNet,
    its classifier too, and a task or model of your own around a backbone.

    Keras does not save what an optimizer excludes: one that is loaded with a
    model by `keras.saving.load_model` decays all weights again.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that is not built yet.
            Variables it excludes from weight decay already stay excluded.

    Returns:
        The optimizer.

    Raises:
        ValueError: if it is no optimizer, or is built: what it does with
            each variable is settled then.

    Example:

    >>> optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1)
    >>> optimizer = keras_laurel.prepare_optimizer(optimizer)
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            f"`optimizer` got {optimizer!r}; it needs a "
            "`keras.optimizers.Optimizer`, such as "
            "`keras.optimizers.AdamW(1e-3)`."
        )
    if optimizer.built:
        raise ValueError(
            f"`optimizer` got a {type(optimizer).__name__} that is built "
            "already. Pass it before `fit`, or a new one made by "
            "`type(optimizer).from_config(optimizer.get_config())`."
        )
    inner = _inner(optimizer)
    _exclude_more_from_weight_decay(inner)
    if isinstance(inner, keras.optimizers.Muon):
        others = [name for name in inner.exclude_layers if name != "laurel_"]
        inner.exclude_layers = [*others, "laurel_"]
    return optimizer


def fresh_optimizer(optimizer):
    """An unbuilt copy, with the same exclusions from weight decay.

    Raises:
        ValueError: if its config does not make another one.
    """
    try:
        copy = type(optimizer).from_config(optimizer.get_config())
    except Exception as error:
        raise ValueError(
            f"`model` got an optimizer, {type(optimizer).__name__}, which its "
            "config does not make again, as conversion needs: it has nothing "
            f"for the LAuReL weights. {type(error).__name__}: {error} Give a "
            "learning rate schedule of your own a `get_config`, or compile "
            "the model after conversion."
        ) from error
    old, new = _inner(optimizer), _inner(copy)
    for name in ("_exclude_from_weight_decay", _PATTERN):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))
    return copy


def _inner(optimizer):
    """The optimizer that scaling of the loss is wrapped around."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _exclude_more_from_weight_decay(optimizer):
    """`exclude_from_weight_decay` forgets what it was told before."""
    variables = getattr(optimizer, "_exclude_from_weight_decay", set())
    pattern = getattr(optimizer, _PATTERN, None)
    names = [pattern.pattern] if pattern else []
    optimizer.exclude_from_weight_decay(var_names=[*names, *NO_WEIGHT_DECAY])
    optimizer._exclude_from_weight_decay |= variables


_PATTERN = "_exclude_from_weight_decay_pattern"
