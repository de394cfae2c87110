"""What one connection has learned, read from its layer."""

import dataclasses

from keras import ops

QUANTITIES = ("alpha", "beta", "gamma", "norm", "share")


@dataclasses.dataclass(frozen=True)
class ConnectionSummary:
    """The learned numbers of one LAuReL layer. What it has not is `None`.

    Attributes:
        layer: Path of the layer, which tells the block it is in.
        variant: The paper's name of what is learned, such as `"rw+lr"`.
        alpha, beta: The residual weights; their means if `per_channel`.
        alpha_min, alpha_max, beta_min, beta_max: Their range over the
            features if `per_channel`.
        gamma: Tuple, the weight of each activation, the skip's first.
        norm: Tuple, the size of each low-rank term, the skip's first, where
            the identity map has 1: `|gamma_j| * ||B_j A_j|| / sqrt(D)` in the
            Frobenius norm. That is the root mean square (RMS) of the term for
            activations whose D features are independent and of variance 1.
            With `normalize` all terms together have one such size, the RMS of
            the learned norm scale.
        share: RMS of what the connection adds to its skip,
            `beta * sum_j gamma_j * B_j A_j x_{i-j}`, over that of the skip, at
            all positions of a batch and in all calls of the layer. Of an
            identity `h` too. `nan` where the skip is 0.
    """

    layer: str
    variant: str
    alpha: float | None = None
    alpha_min: float | None = None
    alpha_max: float | None = None
    beta: float | None = None
    beta_min: float | None = None
    beta_max: float | None = None
    gamma: tuple = ()
    norm: tuple = ()
    share: float | None = None

    @classmethod
    def of(cls, layer, share=None):
        """That of a built `Laurel` layer."""
        return cls(
            layer=layer.path,
            variant=layer.variant,
            **_residual_weights(layer),
            gamma=_floats(layer.gamma),
            norm=_floats(layer.norms()),
            share=share,
        )

    def to_dict(self):
        """Flat, without what the connection has not: `gamma_0`, `norm_0`."""
        row = {}
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, tuple):
                row.update({f"{name}_{j}": x for j, x in enumerate(value)})
            elif value is not None:
                row[name] = value
        return row


def quantities(rows):
    """The names of all numbers in `rows`, dicts by `to_dict`, in order."""
    names = {name for row in rows for name in row}
    return sorted((n for n in names if stem(n) in QUANTITIES), key=_rank)


def stem(quantity):
    """`"gamma"` of `"gamma_1"`."""
    return quantity.partition("_")[0]


def _rank(quantity):
    _, _, index = quantity.partition("_")
    return QUANTITIES.index(stem(quantity)), index.zfill(3)


def _residual_weights(layer):
    if not layer.residual_weights:
        return {}
    found = {}
    for name in ("alpha", "beta"):
        (found[name],) = _floats(ops.mean(getattr(layer, name)))
        if layer.per_channel:
            (found[f"{name}_min"],) = _floats(ops.min(getattr(layer, name)))
            (found[f"{name}_max"],) = _floats(ops.max(getattr(layer, name)))
    return found


def _floats(x):
    """A tuple, empty for `None`."""
    return () if x is None else tuple(ops.convert_to_numpy(x).ravel().tolist())
