"""Optimizer settings for LAuReL weights.

This module uses these private parts of Keras; `tests/test_optimizers.py`
fails if one of them changes:

- `_backend_update_step(grads, trainable_variables, learning_rate)`, the step
  after gradients are clipped and accumulated, and before weights are averaged;
- `_apply_weight_decay(variables)` and `_use_weight_decay(variable)`;
- `_exclude_from_weight_decay` and `_exclude_from_weight_decay_pattern`, in
  which `exclude_from_weight_decay` stores its arguments;
- `MultiOptimizer._optimizer_map`, the map or function given to its `__init__`.
"""

import functools
import re
import sys
import types

import keras

from keras_laurel.layers.laurel import LOW_RANK
from keras_laurel.layers.laurel import SCALARS

GROUPS = {"scalars": SCALARS, "low_rank": tuple(LOW_RANK)}
"""The groups of LAuReL weights in `rates`, with the names of the weights."""


def prepare_optimizer(
    optimizer: keras.optimizers.Optimizer,
    rates: dict[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """Set an optimizer up for a model with LAuReL layers.

    Alpha, beta, gamma and norm scales are excluded from weight decay, which
    would pull them away from their learned values. `A` and `B` decay as other
    matrices do. Muon would orthogonalise `B`; instead it trains the LAuReL
    weights with its AdamW, as it does embeddings.

    Optimizers inside others are set up too: those of a `LossScaleOptimizer`,
    of a `MultiOptimizer`, and of your own wrapper if it keeps them in an
    attribute, a list or a dict.

    A converted KerasHub task, such as `LaurelLlamaCausalLM`, does this in
    `compile`. Call it for all other models: a converted backbone, ResNet or
    classifier, and your own task or model around a backbone.

    With `rates`, LAuReL weights are updated with the optimizer's learning
    rate times a factor. It remains a single optimizer: schedules, callbacks
    that set `learning_rate` (`LearningRateScheduler`, `ReduceLROnPlateau`),
    accumulation of gradients, averages of weights, and `global_clipnorm` over
    all weights work as before. Weight decay of `A` and `B` keeps the
    optimizer's rate. A model without LAuReL weights trains as it would
    without `rates`.

    An optimizer with `rates` is saved in a `.keras` file with the rates and
    the names excluded from weight decay, so training resumes exactly; import
    `keras_laurel` before you load it. Without `rates`, Keras does not save
    the exclusions, and `keras.saving.load_model` returns an optimizer that
    decays all weights. Variables excluded by `var_list` are never saved.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that is not built yet.
            Variables already excluded from weight decay stay excluded.
        rates: Dict of positive factors of the learning rate, for `"scalars"`
            (alpha, beta, gamma, norm scales), `"low_rank"` (`A` and `B`), or
            both: `{"scalars": 0.01}`. A missing group has the factor 1. None
            keeps the factors that an earlier call has set.

    Returns:
        The optimizer.

    Raises:
        ValueError: if `optimizer` is not an optimizer, or is built, which
            settles what it does with each variable; if `rates` is not such a
            dict; if `rates` is given for Nadam, which counts its steps where
            the rate is applied, or for a `MultiOptimizer` that chooses by a
            function.

    Example:

    >>> optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1)
    >>> optimizer = keras_laurel.prepare_optimizer(optimizer)
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            "Argument `optimizer` must be a `keras.optimizers.Optimizer`. "
            f"Received: optimizer={optimizer!r}. Pass, for example, "
            "`keras.optimizers.AdamW(1e-3)`."
        )
    _check_rates(rates)
    # All are checked before the first is changed.
    for one in _all_inside(optimizer):
        _check_not_built(one)
        _check_takes_rates(one, rates)
    for one in _all_inside(optimizer):
        _prepare(one, rates)
    return optimizer


def _prepare(optimizer, rates):
    _exclude_more_from_weight_decay(optimizer)
    if keras.backend.backend() == "torch":
        # A bound method, since a closure around the former method would nest
        # at each call.
        decay = types.MethodType(_decay_what_there_is, optimizer)
        optimizer._apply_weight_decay = decay
    if _is_a("Muon", optimizer):
        # An optimizer that is prepared twice has the name once.
        others = [n for n in optimizer.exclude_layers if n != "laurel_"]
        optimizer.exclude_layers = [*others, "laurel_"]
    if _chooses_by_function(optimizer):
        _prepare_what_is_chosen(optimizer)
    # A wrapper leaves the step to the optimizers inside it.
    if rates is not None and len(_all_inside(optimizer)) == 1:
        _set_rates(optimizer, rates)


def _is_a(name, optimizer):
    """Return whether `optimizer` is of a class that old Keras may lack."""
    return isinstance(optimizer, getattr(keras.optimizers, name, ()))


def _decay_what_there_is(self, variables):
    """Apply weight decay only if a variable decays.

    On PyTorch, Keras fails if there is none, as in an optimizer that trains
    only alpha and beta.
    """
    some = [v for v in variables if self._use_weight_decay(v)]
    if some:
        type(self)._apply_weight_decay(self, some)


def _prepare_what_is_chosen(optimizer):
    """Prepare each optimizer when the function of a `MultiOptimizer` returns
    it, which is when the `MultiOptimizer` is built."""
    choose = optimizer._optimizer_map

    @functools.wraps(choose)
    def choose_prepared(variable):
        return prepare_optimizer(choose(variable))

    optimizer._optimizer_map = choose_prepared


@keras.saving.register_keras_serializable(package="keras_laurel")
class RatedOptimizer:
    """Mixin for an optimizer with separate rates for LAuReL weights."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        pairs = list(zip(grads, trainable_variables))
        for factor in dict.fromkeys(map(self._factor, trainable_variables)):
            some = [(g, v) for g, v in pairs if self._factor(v) == factor]
            rate = learning_rate * factor if factor != 1 else learning_rate
            super()._backend_update_step(*map(list, zip(*some)), rate)

    def _factor(self, variable):
        for group, names in GROUPS.items():
            if variable.name in names:
                return self._laurel_rates.get(group, 1.0)
        return 1.0

    def get_config(self):
        """Return the plain optimizer, the rates and the excluded names."""
        rated = type(self)
        # Keras saves the class by its name: it must be the plain one here.
        self.__class__ = rated.plain
        try:
            config = keras.saving.serialize_keras_object(self)
        finally:
            self.__class__ = rated
        return {
            "optimizer": config,
            "rates": dict(self._laurel_rates),
            "no_weight_decay": _excluded_names(self),
        }

    @classmethod
    def from_config(cls, config):
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        optimizer.exclude_from_weight_decay(var_names=config["no_weight_decay"])
        return prepare_optimizer(optimizer, config["rates"])


def _set_rates(optimizer, rates):
    plain = getattr(type(optimizer), "plain", type(optimizer))
    optimizer.__class__ = _rated(plain)
    optimizer._laurel_rates = {k: float(v) for k, v in rates.items()}


@functools.cache
def _rated(plain):
    """Return a subclass of `plain` with rates.

    It has the mixin's registered name, under which Keras saves and finds it.
    """
    return type(
        keras.saving.get_registered_name(RatedOptimizer),
        (RatedOptimizer, plain),
        {"__module__": __name__, "plain": plain},
    )


def _check_not_built(optimizer):
    if optimizer.built:
        raise ValueError(
            "Argument `optimizer` must not be built yet. Received: an "
            f"optimizer `{type(optimizer).__name__}`, which is built already. "
            "Pass it before `fit`, or a new one made by "
            "`type(optimizer).from_config(optimizer.get_config())`."
        )


def _check_rates(rates):
    if rates is None:
        return
    if not isinstance(rates, dict) or not all(
        name in GROUPS and _is_factor(factor) for name, factor in rates.items()
    ):
        raise ValueError(
            "Argument `rates` must be a dict of positive, finite factors of "
            'the learning rate for `"scalars"`, `"low_rank"` or both. '
            f'Received: rates={rates!r}. Pass, for example, `{{"scalars": '
            "0.01}`; to keep a layer as it is, set its `trainable = False`."
        )


def _is_factor(value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Python compares integers that are beyond any float.
    return number and 0 < value <= sys.float_info.max


def _check_takes_rates(optimizer, rates):
    if rates is None:
        return
    if isinstance(optimizer, keras.optimizers.Nadam):
        raise ValueError(
            "Argument `rates` must be None for Nadam, which counts its steps "
            f"where the rate is applied. Received: rates={rates!r}. Use "
            "another optimizer, such as `keras.optimizers.AdamW`."
        )
    if _chooses_by_function(optimizer):
        raise ValueError(
            "Argument `rates` must be None for a `MultiOptimizer` that "
            f"chooses by a function. Received: rates={rates!r}. Give it a "
            "`keras.optimizers.OptimizerMap`."
        )


def fresh_optimizer(optimizer):
    """Return an unbuilt copy with the same rates and excluded variables.

    Raises:
        ValueError: if the optimizer cannot be made again from its config.
    """
    try:
        copy = type(optimizer).from_config(optimizer.get_config())
    except Exception as error:
        raise ValueError(
            "Argument `model` must have an optimizer that can be made again "
            "from its config: conversion needs a new one, with slots for the "
            f"LAuReL weights. Received: an optimizer, "
            f"{type(optimizer).__name__}, whose config failed with "
            f"{type(error).__name__}: {error} Give your own learning rate "
            "schedule a `get_config`, or compile the model after conversion."
        ) from error
    # Keras' config of an optimizer lacks what is excluded from decay.
    for old, new in zip(_all_inside(optimizer), _all_inside(copy)):
        for name in ("_exclude_from_weight_decay", _PATTERN):
            if hasattr(old, name):
                setattr(new, name, getattr(old, name))
    return copy


def _all_inside(optimizer):
    """Return the optimizer and all optimizers inside it, each once.

    The optimizer itself comes first.
    """
    found = []

    def look(value):
        if isinstance(value, keras.optimizers.Optimizer):
            if not any(value is other for other in found):
                found.append(value)
                look(vars(value))
        elif isinstance(value, dict):
            look(list(value.values()))
        elif isinstance(value, (list, tuple)):
            for one in value:
                look(one)

    look(optimizer)
    return found


def _chooses_by_function(optimizer):
    return _is_a("MultiOptimizer", optimizer) and (
        not isinstance(optimizer._optimizer_map, keras.optimizers.OptimizerMap)
    )


def _exclude_more_from_weight_decay(optimizer):
    """Exclude the LAuReL scalars and keep the earlier exclusions.

    `exclude_from_weight_decay` itself replaces earlier exclusions.
    """
    variables = getattr(optimizer, "_exclude_from_weight_decay", set())
    names = _excluded_names(optimizer)
    names += [
        name
        for name in SCALARS
        if not any(re.search(pattern, name) for pattern in names)
    ]
    optimizer.exclude_from_weight_decay(var_names=names)
    optimizer._exclude_from_weight_decay |= variables


def _excluded_names(optimizer):
    pattern = getattr(optimizer, _PATTERN, None)
    return [pattern.pattern] if pattern else []


_PATTERN = "_exclude_from_weight_decay_pattern"
