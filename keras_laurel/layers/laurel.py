"""The general layer: every weight of the equation, each a choice."""

import contextlib
import functools
import math
import threading

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

They are few, stay in float32, whole on every device, and do not decay.
"""

LOW_RANK = {"laurel_a": (None, "D", None), "laurel_b": (None, "D")}
"""Names of the low-rank weights, with the axis that D lies on."""

ADDITION = ("branch_first", "drops_mask", "of_sum")
"""How the addition stood that a layer takes the place of: options that
conversion gives, in the config only where they are true.

- `branch_first`: as `f(x) + x`, which in PyTorch may have another memory
  layout than `x + f(x)`;
- `drops_mask`: as an operation, which passes no mask on;
- `of_sum`: around several branches. The layer is called on `[x, y, *previous]`
  where `y` is the plain sum of `x` and all branches.
"""

# Options that the config has only where they are not these.
_UNSAID = {
    "keep_branch": True,
    "start": None,
    "first_activation": False,
    **dict.fromkeys(ADDITION, False),
}


@keras.saving.register_keras_serializable(package="keras_laurel")
class Laurel(keras.layers.Layer):
    """Learned augmented residual connection, in the place of `Add`.

        out = alpha * f(x) + beta * (x + sum_j gamma_j * B_j A_j x_{i-j})

    The arguments choose what is learned; `LaurelRW`, `LaurelLR` and
    `LaurelPA` are the common choices, and `keras_laurel.get("rw+lr")` gives
    any of them by the paper's names. At the start the layer equals
    `scale * (x + f(x))`, so that it can stand in a trained model.

    Call it on `[x, fx, *previous]`: the skip, the block's output, and the
    skips of earlier blocks, newest first; with `first_activation` the last of
    them is the first there was.

    Args:
        residual_weights: How `alpha` and `beta` are learned and bounded.
            `None`: both are `scale`. `"softmax"`: `2 * scale * softmax(w)`.
            `"sigmoid"`: `2 * scale * sigmoid(w)`. `"complement"`: one
            parameter p, `2 * scale * sigmoid(p)` and
            `2 * scale * (1 - sigmoid(p))`. `"free"`: two weights without a
            bound. `"free_branch"`: `alpha` alone, without a bound; `beta` is
            `scale`. The paper found the bound necessary for stable training
            (section 2.1); others train without (see `keras_laurel.get`).
        per_channel: Boolean. Learn `alpha` and `beta` for each of the `D`
            features.
        scale: Float, the weight of both terms at the start. 0.5 gives the
            softmax and sigmoid as the paper writes them.
        rank: Integer r. Learn a low-rank map of the skip, `A` of shape
            `(D, r)` and `B` of shape `(r, D)` with B = 0 at the start.
        num_activations: Integer k. Weigh the last k activations with learned
            `gamma`; the skip itself is the first of them, so up to k - 1
            previous ones may be passed. 0 for none, `"all"` for all there
            are.
        share_low_rank: Boolean. One pair `(A, B)` for all activations, as in
            equation (4), in place of one for each, as in equation (6).
        normalize: `"rms"` puts an RMSNorm with a learned scale on the
            augmentation. The scale starts at 0 and B as A.
        a_initializer: Initializer of each `A`, drawn in float32. An integer
            seed is advanced by one for every further draw.
        axis: Integer, the axis of the `D` features.
        keep_branch: Boolean. False: with `residual_weights` on JAX and
            TensorFlow f(x) is not kept for the gradient of `alpha`, which is
            taken from the output of the layer. Around the 24 blocks of a
            language model that fill a TPU's memory, keeping it makes the
            compiler compute parts twice: 3.4 % more cycles in place of
            0.4 % (`docs/tpu_costs.md`). But in bfloat16 this gradient has a
            median error of 2.4, 12 and 47 % where the skip is 30, 100 and 300
            times f(x), and there are no derivatives in forward mode and of
            second order. It changes no output.
        start: Float or pair of floats, where `"free_branch"` or `"free"`
            start: `alpha`, or `(alpha, beta)`. Both are `scale` by default.
        first_activation: Boolean. Weigh the first activation too, `x_0`, such
            as the output of an embedding, where it is not among the last k.
        **kwargs: `name`, `dtype`, `trainable`, as for any layer.

    Input shape:
        List of 2 to k + 1 tensors of one shape, `(batch, ..., D)`, rank 2
        or more; with `first_activation` one more.

    Output shape:
        That same shape.

    Raises:
        ValueError: for options that contradict each other or would learn
            nothing; for a wrong number of inputs, unequal shapes, an
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
        residual_weights=None,
        per_channel=False,
        scale=1.0,
        rank=None,
        num_activations=0,
        share_low_rank=False,
        normalize=None,
        a_initializer="glorot_uniform",
        axis=-1,
        keep_branch=True,
        start=None,
        first_activation=False,
        **kwargs,
    ):
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

    def __call__(self, inputs, *args, **kwargs):
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
        return tuple(input_shape[0])

    def compute_mask(self, inputs, previous_mask=None):
        """The masks of `x` and `fx` joined by "or", as `Add` does."""
        masks = (previous_mask or [None])[:2]
        if self.of_sum:
            return masks[-1]
        if self.drops_mask or any(mask is None for mask in masks):
            return None
        return ops.logical_or(*masks)

    def get_config(self):
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
    def variant(self):
        """The paper's name of what is learned, such as `"rw+lr"`."""
        parts = {
            "rw": self.residual_weights,
            "lr": self.rank,
            "pa": self.num_activations,
        }
        return "+".join(name for name, has in parts.items() if has)

    @property
    def alpha(self):
        """The weight of `f(x)`: a scalar, or `(D,)` if `per_channel`."""
        return self._bounded_weights()[0]

    @property
    def beta(self):
        """The weight of the skip: a scalar, or `(D,)` if `per_channel`."""
        return self._bounded_weights()[1]

    def _bounded_weights(self):
        if not self.residual_weights:
            return self.scale, self.scale
        checks.check_built(self)
        return equation.residual_weights(
            ops.convert_to_tensor(self.laurel_residual_weights),
            self.residual_weights,
            self.scale,
        )

    @property
    def most_activations(self):
        """How many activations it weighs at the most, its skip included."""
        if self.num_activations == "all":
            return math.inf
        return self.num_activations + self.first_activation

    @property
    def has_history(self):
        """Whether the layer may read more than its skip."""
        return self.most_activations > 1

    def reads(self, n):
        """What a connection reads that has `n` connections before it.

        Returns:
            Tuple of integers j, for the activations `x_{i-j}`, newest first;
            empty where it reads not even its skip for a map or a weight.
        """
        if not self.num_activations:
            return (0,) if self.rank else ()
        count = n + 1
        if self.num_activations != "all":
            count = min(self.num_activations, count)
        is_apart = self.first_activation and count <= n
        return (*range(count), *([n] if is_apart else []))

    @property
    def gamma(self):
        """The weight of each activation, `(n,)`, or `None` without any."""
        return self._gamma()

    def norms(self):
        """The size of each low-rank term, the skip's first.

        Returns:
            Tensor of shape `(n,)`, `||B_j A_j|| |gamma_j| / sqrt(D)`; of shape
            `()`, the RMS of the norm scale, with `normalize`. `None` where an
            activation is added as it is.
        """
        if self.normalize:
            scale = ops.convert_to_tensor(self.laurel_norm_scale)
            return equation.root_mean_square(scale)
        if not self.rank:
            return None
        a = ops.convert_to_tensor(self.laurel_a)
        b = ops.convert_to_tensor(self.laurel_b)
        return equation.low_rank_norms(a, b, self._gamma())

    def cost(self, is_around_block=False, has_other_skip=False):
        """What the built layer costs, a `ConnectionCost`.

        Args:
            is_around_block: Boolean, whether it runs by `combine_sum`.
            has_other_skip: Boolean, whether its `skip` is not `x` there.
        """
        return ConnectionCost(
            width=self.input_spec[0].axes[self.axis],
            activations=self.num_inputs - 1,
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

    def augmentation(self, skip, carried):
        """What the connection adds to `alpha f(x) + beta x`, in float32.

        Args:
            skip: Tensor of shape `(batch, ..., D)`.
            carried: As a function that `observed` is given gets it.
        """
        zero = ops.zeros_like(skip, dtype="float32")
        return self._sum([zero, zero], carried)

    def down_projection(self, j):
        """`A`, of shape `(D, r)`, of the j-th activation that it reads.

        `None` where the activation itself is read.
        """
        if not self.rank:
            return None
        a = ops.convert_to_tensor(self.laurel_a)
        return a[j if a.shape[0] > 1 else 0]

    def combine(self, x, fx, carried=None):
        """The connection of `x` and `fx` as `call` computes it.

        Args:
            x: Tensor of shape `(batch, ..., D)`, the skip; the features are
                on `axis`.
            fx: Tensor of that shape.
            carried: As `combine_sum` takes it; the features come last.
        """
        x, fx = self.features_last([x, fx])
        gamma = self._gamma()
        out = self._weighted_sum([fx, x], carried and (carried, gamma))
        return self.features_back(out)

    def combine_sum(self, y, x, skip, carried=None):
        """The connection around a block that returns `y = x + f`, f hidden.

        With weights of 1, nothing carried and `skip` equal to `x` the result
        equals `y` bit for bit; `y - x` would have lost digits.

        Args:
            y: Tensor of shape `(batch, ..., D)`, what the block returned.
            x: Tensor of that shape, what the block added `f` to.
            skip: Tensor of that shape, what `f` is to be added to: `x`
                itself, or `x` as an earlier connection has augmented it.
            carried: List of what is known of the activations, the skip
                first, then newest first: their codes
                `x_{i-j} @ down_projection(j)` with `rank`, else themselves.
                There may be fewer than the layer was built for. `None` where
                neither `rank` nor `num_activations` is set.
        """
        gamma = self._gamma()
        if carried and gamma is not None and len(carried) < gamma.shape[0]:
            gamma = gamma[: len(carried)]
        return self._weighted_sum([y, skip, x], carried and (carried, gamma))

    def _weighted_sum(self, terms, carried):
        """The connection of `[fx, skip]`, or of `[y, skip, x]`.

        Args:
            carried: `(activations or codes, gamma)`, or `None`.
        """
        for note in _notes():
            note(self, terms, carried)
        return self._sum(terms, carried)

    def _sum(self, terms, carried):
        alpha, beta = self._bounded_weights()
        weights = [alpha, beta, -alpha][: len(terms)]
        weighted_sum = functools.partial(
            equation.weighted_sum,
            addends=1 if len(terms) == 3 else 2,
            skip_first=not self.branch_first,
            keep_first=self.keep_branch,
        )
        if len(terms) == 3 and terms[1] is terms[2]:
            terms, weights = terms[:2], [alpha, beta - alpha]
        if not carried:
            return weighted_sum(terms, weights)
        activations, gamma = carried
        if self.rank:
            b = ops.convert_to_tensor(self.laurel_b)
            if gamma is not None and b.shape[0] > gamma.shape[0] * self.rank:
                b = b[: gamma.shape[0] * self.rank]
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
            gammas = [gamma[j] * beta for j in range(len(activations))]
            return weighted_sum([*terms, *activations], [*weights, *gammas])
        return weighted_sum([*terms, augmentation], [*weights, beta])

    def _carried(self, activations):
        """What `combine_sum` is given, with the gamma left to apply."""
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

    def features_last(self, tensors):
        """The tensors with the axis of the features moved to the end."""
        if self._features_last:
            return tensors
        return [_move_axis(x, self.axis, -1) for x in tensors]

    def features_back(self, x):
        """The tensor with its last axis moved to that of the features."""
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
            shape=(pairs * self.rank, width),
            initializer=(
                _Initializer(self._draw_b) if self.normalize else "zeros"
            ),
            autocast=False,
        )

    def _draw_a(self, shape, dtype=None):
        pairs, width, rank = shape
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
        """Draw `index`: an initializer repeats itself, seeded or not."""
        initializer = self.a_initializer
        if isinstance(getattr(initializer, "seed", None), int):
            config = initializer.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] += index
            initializer = type(initializer).from_config(config)
        return initializer(shape, dtype="float32")

    def _add_scalars(self, name, shape, initializer):
        """Weights that stay in float32 or wider, whatever the policy.

        1.002 rounds to 1 in bfloat16: neither stored nor cast to it.
        """
        wide = self.variable_dtype in ("float32", "float64")
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=self.variable_dtype if wide else "float32",
            autocast=False,
        )


_observers = []


@contextlib.contextmanager
def observed(note):
    """A scope in which each connection that runs on this thread is noted.

    Args:
        note: Function of the layer, of its terms `[fx, skip]` or, around a
            block that returns `y = x + f`, `[y, skip, x]`, and of what it
            carries: `None`, or the pair of the activations or their codes
            and of gamma.
    """
    entry = (threading.get_ident(), note)
    _observers.append(entry)
    try:
        yield
    finally:
        _observers.remove(entry)


def is_observed():
    """Whether connections that run on this thread are noted."""
    return bool(_notes())


def _notes():
    return [f for thread, f in _observers if thread == threading.get_ident()]


def _move_axis(x, source, target):
    """`ops.moveaxis`, which `torch.vmap` does not know."""
    axes = list(range(len(x.shape)))
    moved = axes.pop(source)
    axes.insert(target % len(x.shape), moved)
    return ops.transpose(x, axes)


class _Initializer(keras.initializers.Initializer):
    """A function as an initializer.

    A weight that is divided among devices is made in parts where it is large:
    Keras compiles the `__call__` of its initializer, which on JAX a function's
    own cannot be.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, shape, dtype=None):
        return self.function(shape, dtype)
