"""Optimizer settings for LAuReL weights.

These private things of Keras are used, pinned by `tests/test_optimizers.py`:

- `_backend_update_step(grads, trainable_variables, learning_rate)`, the step
  after gradients are clipped and accumulated, and before weights are averaged;
- `_apply_weight_decay(variables)` and `_use_weight_decay(variable)`;
- `_exclude_from_weight_decay` and `_exclude_from_weight_decay_pattern`, where
  `exclude_from_weight_decay` keeps what it is told;
- `MultiOptimizer._optimizer_map`, the map or function that it is made with.
"""

import functools
import math
import re
import types

import keras

from keras_laurel.layers.laurel import LOW_RANK
from keras_laurel.layers.laurel import SCALARS

GROUPS = {"scalars": SCALARS, "low_rank": tuple(LOW_RANK)}
"""The LAuReL weights that may have a rate of their own, by name."""


def prepare_optimizer(optimizer, rates=None):
    """Set an optimizer up for a model with LAuReL layers.

    Weight decay leaves alpha, beta, gamma and norm scales alone: it would
    pull gamma, and alpha and beta away from what they have learned, towards
    where they started. `A` and `B` decay as other matrices do. Muon, which
    would orthogonalise `B`, trains it as its AdamW does embeddings.

    Optimizers inside others are set up too: those of a `LossScaleOptimizer`,
    of a `MultiOptimizer`, and of a wrapper of your own that keeps them in an
    attribute, a list or a dict.

    A converted task of KerasHub, such as `LaurelLlamaCausalLM`, does this in
    `compile`. Call it for all other models: a converted backbone or ResNet,
    its classifier too, and a task or model of your own around a backbone.

    With `rates`, an update of LAuReL weights takes the optimizer's learning
    rate times a factor. The optimizer stays one: schedules, callbacks that
    set `learning_rate` (`LearningRateScheduler`, `ReduceLROnPlateau`),
    accumulation of gradients, averages of weights and `global_clipnorm`, the
    norm over all weights, work as before. Weight decay of `A` and `B` keeps
    the optimizer's rate. A model without LAuReL weights trains as it would
    without `rates`.

    An optimizer with `rates` is saved in a `.keras` file with the rates and
    the names that it does not decay, so training resumes exactly; import
    `keras_laurel` before you load. Without `rates` Keras does not save what an
    optimizer excludes: `keras.saving.load_model` gives one that decays all
    weights again. Variables excluded by `var_list` are never saved.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that is not built yet.
            Variables it excludes from weight decay already stay excluded.
        rates: Dict of positive factors of the learning rate, for `"scalars"`
            (alpha, beta, gamma, norm scales), `"low_rank"` (`A` and `B`), or
            both: `{"scalars": 0.01}`. What is left out has the factor 1. None
            keeps the factors that an earlier call has set.

    Returns:
        The optimizer.

    Raises:
        ValueError: if it is no optimizer, or is built: what it does with
            each variable is settled then; if `rates` is no such dict; if
            `rates` is given for Nadam, which counts its steps where the rate
            is applied, or for a `MultiOptimizer` that chooses by a function.

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
    _check_rates(rates)
    for one in _all_inside(optimizer):
        _check_not_built(one)
        _check_takes_rates(one, rates)
    for one in _all_inside(optimizer):
        _prepare(one, rates)
    return optimizer


def _prepare(optimizer, rates):
    _exclude_more_from_weight_decay(optimizer)
    if keras.backend.backend() == "torch":
        decay = types.MethodType(_decay_what_there_is, optimizer)
        optimizer._apply_weight_decay = decay
    if isinstance(optimizer, keras.optimizers.Muon):
        others = [n for n in optimizer.exclude_layers if n != "laurel_"]
        optimizer.exclude_layers = [*others, "laurel_"]
    if _chooses_by_function(optimizer):
        _prepare_what_is_chosen(optimizer)
    if rates is not None and len(_all_inside(optimizer)) == 1:
        _set_rates(optimizer, rates)


def _decay_what_there_is(self, variables):
    """On PyTorch, Keras fails where an optimizer has nothing to decay.

    One that trains nothing but alpha and beta has not.
    """
    some = [v for v in variables if self._use_weight_decay(v)]
    if some:
        type(self)._apply_weight_decay(self, some)


def _prepare_what_is_chosen(optimizer):
    """A `MultiOptimizer` asks its function when it is built."""
    choose = optimizer._optimizer_map

    @functools.wraps(choose)
    def choose_prepared(variable):
        return prepare_optimizer(choose(variable))

    optimizer._optimizer_map = choose_prepared


@keras.saving.register_keras_serializable(package="keras_laurel")
class RatedOptimizer:
    """Mixin for an optimizer whose LAuReL weights have rates of their own."""

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
        """The optimizer without rates, them, and what it does not decay."""
        rated = type(self)
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
    """A class that Keras saves and finds again under the mixin's name."""
    return type(
        keras.saving.get_registered_name(RatedOptimizer),
        (RatedOptimizer, plain),
        {"__module__": __name__, "plain": plain},
    )


def _check_not_built(optimizer):
    if optimizer.built:
        raise ValueError(
            f"`optimizer` got a {type(optimizer).__name__} that is built "
            "already. Pass it before `fit`, or a new one made by "
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
    return number and math.isfinite(value) and value > 0


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
    """An unbuilt copy, with the same rates and exclusions from weight decay.

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
    for old, new in zip(_all_inside(optimizer), _all_inside(copy)):
        for name in ("_exclude_from_weight_decay", _PATTERN):
            if hasattr(old, name):
                setattr(new, name, getattr(old, name))
    return copy


def _all_inside(optimizer):
    """The optimizer and all that it holds, each once, itself first."""
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
    return isinstance(optimizer, keras.optimizers.MultiOptimizer) and (
        not isinstance(optimizer._optimizer_map, keras.optimizers.OptimizerMap)
    )


def _exclude_more_from_weight_decay(optimizer):
    """`exclude_from_weight_decay` forgets what it was told before."""
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
