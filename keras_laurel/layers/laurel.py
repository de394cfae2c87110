"""The general layer, in which each weight of the equation is optional."""

import contextlib
import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_laurel import equation
from keras_laurel.checks import check_boolean
from keras_laurel.checks import check_integer
from keras_laurel.layers import checks
from keras_laurel.layers.cost import ConnectionCost

SCALARS = (
    "laurel_residual_weights",
    "laurel_gamma",
    "laurel_norm_scale",
)
"""Names of the weights behind alpha and beta, of gamma and of norm scales.

They are small. They stay in float32, are copied whole to every device, and
are excluded from weight decay.
"""

LOW_RANK = {"laurel_a": (None, "D", None), "laurel_b": (None, "D")}
"""Names of the low-rank weights, with the position of their axis of size D."""

ADDITION = ("branch_first", "drops_mask", "of_sum")
"""Options that describe the addition which the layer replaces.

Conversion sets them; the config has them only where they are true.

- `branch_first`: the addition was `f(x) + x`, which in PyTorch may have
  another memory layout than `x + f(x)`;
- `drops_mask`: the addition was an operation, which passes no mask on;
- `of_sum`: the addition had several branches. The layer is called on
  `[x, y, *previous]`, where `y` is the plain sum of `x` and all branches.
"""

# The config has these options only where they differ from these defaults.
_UNSAID = {
    "keep_branch": True,
    "start": None,
    "first_activation": False,
    **dict.fromkeys(ADDITION, False),
}


@keras.saving.register_keras_serializable(package="keras_laurel")
class Laurel(keras.layers.Layer):
    """Learned augmented residual connection, which replaces `Add`.

        out = alpha * f(x) + beta * (x + sum_j gamma_j * B_j A_j x_{i-j})

    The arguments choose what is learned. `LaurelRW`, `LaurelLR` and
    `LaurelPA` are the common choices, and `keras_laurel.get("rw+lr")` makes
    a layer by the paper's name of a variant. At the start the layer equals
    `scale * (x + f(x))`, so it can be put into a trained model.

    Call it on `[x, fx, *previous]`: the skip, the block's output, and the
    skips of earlier blocks, newest first. With `first_activation` the last
    tensor is the first activation of the network.

    Args:
        residual_weights: The form in which `alpha` and `beta` are learned.
            `None`: both are `scale`. `"softmax"`: `2 * scale * softmax(w)`.
            `"sigmoid"`: `2 * scale * sigmoid(w)`. `"complement"`: one
            parameter p, `2 * scale * sigmoid(p)` and
            `2 * scale * (1 - sigmoid(p))`. `"free"`: two weights without a
            bound. `"free_branch"`: `alpha` alone, without a bound; `beta` is
            `scale`. The paper found the bound necessary for stable training
            (section 2.1); other methods train without a bound (see
            `keras_laurel.get`).
        per_channel: Boolean. Learn `alpha` and `beta` for each of the `D`
            features.
        scale: Float, the weight of both terms at the start. 0.5 gives the
            softmax and sigmoid as the paper writes them.
        rank: Integer r. Learn a low-rank map of the skip, `A` of shape
            `(D, r)` and `B` of shape `(r, D)` with B = 0 at the start.
        num_activations: Integer k. Weigh the last k activations with learned
            `gamma`; the skip itself is the first of them, so up to k - 1
            previous ones may be passed. 0 reads none, `"all"` reads all.
        share_low_rank: Boolean. Learn one pair `(A, B)` for all activations,
            as in equation (4), instead of one for each, as in equation (6).
        normalize: `"rms"` applies an RMSNorm with a learned scale to the
            augmentation. The scale starts at 0, and B starts as A does.
        a_initializer: Initializer of each `A`, drawn in float32. An integer
            seed is advanced by one for every further draw.
        axis: Integer, the axis of the `D` features. It is not 0, the batch.
        keep_branch: Boolean. If False, JAX and TensorFlow do not keep f(x)
            for the gradient of `alpha`, but compute this gradient from the
            output of the layer. It needs bounded `residual_weights`. In a
            language model whose 24 blocks fill a TPU's memory, keeping f(x)
            makes the compiler compute parts twice, which costs 3.4 % more
            cycles instead of 0.4 % (`docs/tpu_costs.md`). But in bfloat16 the
            gradient from the output has a median error of 2.4, 12 and 47 %
            where the skip is 30, 100 and 300 times f(x), and it supports
            neither forward mode nor second derivatives. The output is the
            same.
        start: Float or pair of floats, the initial value of `alpha` for
            `"free_branch"`, or of `(alpha, beta)` for `"free"`. Both start at
            `scale` by default.
        first_activation: Boolean. Also weigh the first activation `x_0`, such
            as the output of an embedding, if it is not among the last k.
        **kwargs: `name`, `dtype`, `trainable`, as for any layer.

    Input shape:
        List of 2 to k + 1 tensors of the same shape, `(batch, ..., D)`, of
        rank 2 or more; with `first_activation` one more.

    Output shape:
        The shape of each input.

    Raises:
        ValueError: if options contradict each other or nothing would be
            learned; for a wrong number of inputs, unequal shapes, an
            undefined feature axis, `rank` larger than `D`, or inputs that
            are not floating point.

    Example:

    >>> x = keras.Input((8, 64))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> y = keras_laurel.Laurel("softmax", rank=16)([x, fx])
    >>> y.shape
    (None, 8, 64)

    Reference: arXiv 2411.07501, equations (2) to (6). `normalize="rms"`
    with `rank=64` and `scale=2**-0.5` is the LAuReL addition of Gemma 3n,
    called on `[input_layernorm(x), x + attention]` there.
    """

    def __init__(
        self,
        residual_weights: str | None = None,
        per_channel: bool = False,
        scale: float = 1.0,
        rank: int | None = None,
        num_activations: int | str = 0,
        share_low_rank: bool = False,
        normalize: str | None = None,
        a_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        axis: int = -1,
        keep_branch: bool = True,
        start: float | tuple[float, float] | None = None,
        first_activation: bool = False,
        **kwargs: Any,
    ) -> None:
        # Keras' constructor would refuse arguments that it does not know.
        for name in ADDITION:
            setattr(self, name, bool(kwargs.pop(name, False)))
        super().__init__(**kwargs)
        self.residual_weights = residual_weights
        self.per_channel = check_boolean("per_channel", per_channel)
        self.scale = checks.check_scale(scale)
        self.rank = check_integer("rank", rank, 1, optional=True)
        self.num_activations = checks.check_num_activations(num_activations)
        self.share_low_rank = check_boolean("share_low_rank", share_low_rank)
        self.normalize = normalize
        self.a_initializer = keras.initializers.get(a_initializer)
        self.axis = check_integer("axis", axis)
        self.keep_branch = check_boolean("keep_branch", keep_branch)
        self.start = checks.check_start(start, residual_weights)
        self.first_activation = check_boolean(
            "first_activation", first_activation
        )
        self.supports_masking = True
        self.num_inputs = None
        checks.check_options(self)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Before Keras builds the layer on these inputs, so that it can still
        # be used after an error.
        checks.check_inputs(self, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape):
        width = checks.check_shapes(self, input_shape)
        self.num_inputs = len(input_shape)
        self.input_spec = [
            keras.layers.InputSpec(axes={self.axis: width}) for _ in input_shape
        ]
        self._features_last = self.axis in (-1, len(input_shape[0]) - 1)
        if self.residual_weights:
            self._build_residual_weights(width)
        if self.rank:
            self._build_low_rank(width)
        if self.num_activations:
            # A low-rank map starts at B = 0 and a norm at a scale of 0. With a
            # gamma of 0 as well, neither would ever get a gradient.
            identity = not (self.rank or self.normalize)
            self.laurel_gamma = self._add_scalars(
                "laurel_gamma",
                (len(input_shape) - 1,),
                "zeros" if identity else "ones",
            )
        if self.normalize:
            self.laurel_norm_scale = self._add_scalars(
                "laurel_norm_scale", (width,), "zeros"
            )

    def call(self, inputs):
        x, fx, *previous = self.features_last(inputs)
        terms = [fx, x, x] if self.of_sum else [fx, x]
        out = self._weighted_sum(terms, self._carried([x, *previous]))
        return self.features_back(out)

    def compute_output_shape(self, input_shape):
        checks.check_equal_shapes(self, input_shape)
        return tuple(input_shape[0])

    def compute_mask(self, inputs, previous_mask=None):
        """Combine the masks of `x` and `fx` by a logical or, as `Add` does."""
        masks = (previous_mask or [None])[:2]
        if self.of_sum:
            # The plain additions have made the mask of the sum already.
            return masks[-1]
        if self.drops_mask or any(mask is None for mask in masks):
            return None
        return ops.logical_or(*masks)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "residual_weights": self.residual_weights,
            "per_channel": self.per_channel,
            "scale": self.scale,
            "rank": self.rank,
            "num_activations": self.num_activations,
            "share_low_rank": self.share_low_rank,
            "normalize": self.normalize,
            "a_initializer": keras.initializers.serialize(self.a_initializer),
            "axis": self.axis,
            **{
                name: getattr(self, name)
                for name, default in _UNSAID.items()
                if getattr(self, name) != default
            },
        }

    @property
    def variant(self) -> str:
        """The paper's name of the variant, such as `"rw+lr"`."""
        parts = {
            "rw": self.residual_weights,
            "lr": self.rank,
            "pa": self.num_activations,
        }
        return "+".join(name for name, has in parts.items() if has)

    @property
    def alpha(self) -> Any:
        """The weight of `f(x)`: a scalar, or `(D,)` if `per_channel`."""
        return self._bounded_weights()[0]

    @property
    def beta(self) -> Any:
        """The weight of the skip: a scalar, or `(D,)` if `per_channel`."""
        return self._bounded_weights()[1]

    def _bounded_weights(self):
        if not self.residual_weights:
            return self.scale, self.scale
        checks.check_built(self)
        return equation.residual_weights(
            # On JAX and PyTorch `ops.unstack` fails on a bare variable.
            ops.convert_to_tensor(self.laurel_residual_weights),
            self.residual_weights,
            self.scale,
        )

    @property
    def most_activations(self) -> float:
        """The largest number of activations it weighs, its skip included."""
        if self.num_activations == "all":
            return math.inf
        return self.num_activations + self.first_activation

    @property
    def has_history(self) -> bool:
        """True if the layer may read more activations than its skip."""
        return self.most_activations > 1

    def reads(self, n: int) -> tuple[int, ...]:
        """Return the activations that the connection with index `n` reads.

        Args:
            n: Integer, the number of connections before this one.

        Returns:
            Tuple of integers j, for the activations `x_{i-j}`, newest first.
            It is empty if the augmentation is 0, so that not even the skip
            is read for it.
        """
        if not self.num_activations:
            return (0,) if self.rank else ()
        count = n + 1
        if self.num_activations != "all":
            count = min(self.num_activations, count)
        is_apart = self.first_activation and count <= n
        return (*range(count), *([n] if is_apart else []))

    @property
    def gamma(self) -> Any:
        """The weights of the activations, `(n,)`, or `None` without any."""
        return self._gamma()

    def norms(self) -> Any:
        """Return the size of each low-rank term, that of the skip first.

        Returns:
            Tensor of shape `(n,)`, `||B_j A_j|| |gamma_j| / sqrt(D)`. With
            `normalize`, a tensor of shape `()`, the RMS of the norm scale.
            `None` if activations are added without a low-rank map.
        """
        if self.normalize:
            scale = ops.convert_to_tensor(self.laurel_norm_scale)
            return equation.root_mean_square(scale)
        if not self.rank:
            return None
        a = ops.convert_to_tensor(self.laurel_a)
        b = ops.convert_to_tensor(self.laurel_b)
        return equation.low_rank_norms(a, b, self._gamma())

    def cost(
        self, is_around_block: bool = False, has_other_skip: bool = False
    ) -> ConnectionCost:
        """Return the cost of the built layer, a `ConnectionCost`.

        Args:
            is_around_block: Boolean. The layer runs by `combine_sum`.
            has_other_skip: Boolean. The `skip` given to `combine_sum` is not
                `x`.
        """
        return ConnectionCost(
            width=self.input_spec[0].axes[self.axis],
            activations=len(self.input_spec) - 1,
            rank=self.rank,
            has_gamma=bool(self.num_activations),
            share_low_rank=self.share_low_rank,
            residual_weights=self.residual_weights,
            per_channel=self.per_channel,
            scale=self.scale,
            normalize=self.normalize,
            is_around_block=is_around_block,
            has_other_skip=has_other_skip,
            keeps_f=self.keep_branch or keras.config.backend() == "torch",
        )

    def augmentation(self, skip: Any, carried: tuple[list, Any] | None) -> Any:
        """Compute what is added to `alpha f(x) + beta x`, in float32.

        Args:
            skip: Tensor of shape `(batch, ..., D)`.
            carried: The third argument of a function passed to `observed`.
        """
        zero = ops.zeros_like(skip, dtype="float32")
        return self._sum([zero, zero], carried)

    def down_projection(self, j: int) -> Any:
        """Return `A`, of shape `(D, r)`, for the j-th activation it reads.

        `None` without `rank`, where the activation itself is read.
        """
        if not self.rank:
            return None
        a = ops.convert_to_tensor(self.laurel_a)
        return a[j if a.shape[0] > 1 else 0]

    def combine(self, x: Any, fx: Any, carried: list | None = None) -> Any:
        """Compute the connection of `x` and `fx` as `call` does.

        Args:
            x: Tensor of shape `(batch, ..., D)`, the skip; the features are
                on `axis`.
            fx: Tensor of the same shape.
            carried: The history, as `combine_sum` takes it; the features are
                on the last axis.
        """
        x, fx = self.features_last([x, fx])
        gamma = self._gamma()
        out = self._weighted_sum([fx, x], carried and (carried, gamma))
        return self.features_back(out)

    def combine_sum(
        self, y: Any, x: Any, skip: Any, carried: list | None = None
    ) -> Any:
        """Compute the connection around a block that returns `y = x + f`.

        Such a block hides f. The result is computed from `y` directly, since
        `y - x` would lose digits. With weights of 1, nothing carried and
        `skip` equal to `x` it equals `y` bit for bit.

        Args:
            y: Tensor of shape `(batch, ..., D)`, the output of the block.
            x: Tensor of the same shape, to which the block added `f`.
            skip: Tensor of the same shape, to which `f` is to be added: `x`
                itself, or `x` as augmented by an earlier connection.
            carried: List with one tensor for each activation, the skip first,
                then newest first: with `rank` the low-rank projection
                `x_{i-j} @ down_projection(j)`, otherwise the activation
                itself. There may be fewer than the layer was built for.
                `None` if neither `rank` nor `num_activations` is set.
        """
        gamma = self._gamma()
        if carried and gamma is not None and len(carried) < gamma.shape[0]:
            gamma = gamma[: len(carried)]
        return self._weighted_sum([y, skip, x], carried and (carried, gamma))

    def _weighted_sum(self, terms, carried):
        """Compute the connection of `[fx, skip]`, or of `[y, skip, x]`.

        Args:
            carried: `None`, or a pair of the activations (with `rank`, their
                low-rank projections) and gamma.
        """
        for note in _notes():
            note(self, terms, carried)
        return self._sum(terms, carried)

    def _sum(self, terms, carried):
        alpha, beta = self._bounded_weights()
        weights = [alpha, beta]
        weighted_sum = functools.partial(
            equation.weighted_sum,
            addends=1 if len(terms) == 3 else 2,
            skip_first=not self.branch_first,
            keep_first=self.keep_branch,
        )
        if len(terms) == 3:
            terms, weights = _around_block(terms, weights)
        if not carried:
            return weighted_sum(terms, weights)
        activations, gamma = carried
        if self.rank:
            b = ops.convert_to_tensor(self.laurel_b)
            if gamma is not None and b.shape[0] > gamma.shape[0] * self.rank:
                b = b[: gamma.shape[0] * self.rank]
            # A norm would cancel a factor of its input: beta comes after it.
            product = equation.up_projection(
                activations, b, gamma, 1.0 if self.normalize else beta
            )
            if not self.normalize:
                return weighted_sum(terms, weights, *product)
            augmentation = self._normalized(ops.matmul(*product))
        elif self.normalize:
            augmentation = self._normalized(
                equation.weighted_history(activations, gamma)
            )
        else:
            gammas = equation.history_weights(gamma, beta)
            return weighted_sum([*terms, *activations], [*weights, *gammas])
        return weighted_sum([*terms, augmentation], [*weights, beta])

    def _carried(self, activations):
        """Return the tensors that `combine_sum` reads, and gamma."""
        if not (self.rank or self.num_activations):
            return None
        if not self.rank:
            return activations, self._gamma()
        a = ops.convert_to_tensor(self.laurel_a)
        return equation.down_project(activations, a, self._gamma())

    def _gamma(self):
        if not self.num_activations:
            return None
        return ops.convert_to_tensor(self.laurel_gamma)

    def _normalized(self, augmentation):
        norm_scale = ops.convert_to_tensor(self.laurel_norm_scale)
        return equation.rms_norm(augmentation, norm_scale)

    def features_last(self, tensors: list) -> list:
        """Return the tensors with the feature axis moved to the end."""
        if self._features_last:
            return tensors
        return [_move_axis(x, self.axis, -1) for x in tensors]

    def features_back(self, x: Any) -> Any:
        """Return the tensor with its last axis moved to the feature axis."""
        return x if self._features_last else _move_axis(x, -1, self.axis)

    def _build_residual_weights(self, width):
        count = equation.NUM_RESIDUAL_WEIGHTS[self.residual_weights]
        is_free = self.residual_weights in checks.FREE
        self.laurel_residual_weights = self._add_scalars(
            "laurel_residual_weights",
            (count, width) if self.per_channel else (count,),
            _Initializer(self._start_weights) if is_free else "zeros",
        )

    def _start_weights(self, shape, dtype=None):
        start = self.scale if self.start is None else self.start
        # Transposed, since NumPy broadcasts along leading axes only, and the
        # features come last.
        values = np.broadcast_to(np.transpose(start), shape[::-1])
        return ops.convert_to_tensor(np.transpose(values), dtype)

    def _build_low_rank(self, width):
        separate = self.num_activations and not self.share_low_rank
        pairs = self.num_inputs - 1 if separate else 1
        self.laurel_a = self.add_weight(
            name="laurel_a",
            shape=(pairs, width, self.rank),
            initializer=_Initializer(self._draw_a),
        )
        self.laurel_b = self.add_weight(
            name="laurel_b",
            # One matrix, so that all up-projections are one product.
            shape=(pairs * self.rank, width),
            initializer=(
                # Under a norm, B = 0 would multiply its gradient by 1 /
                # sqrt(epsilon). There the scale of the norm is 0 instead.
                _Initializer(self._draw_b) if self.normalize else "zeros"
            ),
            # In float32, gamma and beta multiply B before it becomes narrow.
            autocast=False,
        )

    def _draw_a(self, shape, dtype=None):
        pairs, width, rank = shape
        # One by one: an initializer would take the axis of pairs for one of a
        # convolution kernel.
        draws = [self._draw((width, rank), i) for i in range(pairs)]
        return ops.cast(ops.stack(draws), dtype)

    def _draw_b(self, shape, dtype=None):
        rows, width = shape
        pairs = rows // self.rank
        draws = [
            ops.transpose(self._draw((width, self.rank), pairs + i))
            for i in range(pairs)
        ]
        return ops.cast(ops.concatenate(draws), dtype)

    def _draw(self, shape, index):
        """Make draw number `index`.

        A Keras initializer returns the same values in each call, so each draw
        needs an initializer with a seed of its own.
        """
        initializer = self.a_initializer
        if isinstance(getattr(initializer, "seed", None), int):
            config = initializer.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] += index
            initializer = type(initializer).from_config(config)
        # Orthogonal initializers cannot draw in bfloat16.
        return initializer(shape, dtype="float32")

    def _add_scalars(self, name, shape, initializer):
        """Add weights that stay in float32 or wider under any dtype policy.

        1.002 rounds to 1 in bfloat16, so they are neither stored in bfloat16
        nor cast to it.
        """
        wide = self.variable_dtype in ("float32", "float64")
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=self.variable_dtype if wide else "float32",
            autocast=False,
        )


def _around_block(terms, weights):
    """Return the terms and weights of a sum of `[y, skip, x]`."""
    alpha, beta = weights
    # With y = x + f, alpha f + beta skip is alpha y + beta skip - alpha x.
    if terms[1] is terms[2]:
        return terms[:2], [alpha, beta - alpha]
    return terms, [alpha, beta, -alpha]


_observers: list[tuple[int, Callable]] = []


@contextlib.contextmanager
def observed(note):
    """Call `note` for each connection that runs on this thread in the scope.

    Args:
        note: Function `note(layer, terms, carried)`. `terms` is `[fx, skip]`
            or, around a block that returns `y = x + f`, `[y, skip, x]`.
            `carried` is `None`, or a pair of the activations (with `rank`,
            their low-rank projections) and gamma.
    """
    entry = (threading.get_ident(), note)
    _observers.append(entry)
    try:
        yield
    finally:
        _observers.remove(entry)


def is_observed():
    """Return whether this thread is in a scope of `observed`."""
    return bool(_notes())


def _notes():
    return [f for thread, f in _observers if thread == threading.get_ident()]


def _move_axis(x, source, target):
    """Move an axis as `ops.moveaxis` does, which `torch.vmap` rejects."""
    axes = list(range(len(x.shape)))
    moved = axes.pop(source)
    axes.insert(target % len(x.shape), moved)
    return ops.transpose(x, axes)


class _Initializer(keras.initializers.Initializer):
    """Initializer that calls a function.

    To create a large weight in parts on several devices, Keras compiles the
    `__call__` of its initializer. On JAX the `__call__` of a plain function
    cannot be compiled.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, shape, dtype=None):
        return self.function(shape, dtype)
