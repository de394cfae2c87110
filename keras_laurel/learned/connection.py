"""The learned numbers of one connection, read from its layer."""

import dataclasses
from typing import Any

from keras import ops

from keras_laurel.layers import Laurel

QUANTITIES = ("alpha", "beta", "gamma", "norm", "share")


@dataclasses.dataclass(frozen=True)
class ConnectionSummary:
    """The learned numbers of one LAuReL layer; `None` if it lacks one.

    Attributes:
        layer: Path of the layer, which shows the block it is in.
        variant: The paper's name of the variant, such as `"rw+lr"`.
        alpha, beta: The residual weights; their means if `per_channel`.
        alpha_min, alpha_max, beta_min, beta_max: Their range over the
            features if `per_channel`.
        gamma: Tuple, the weight of each activation, that of the skip first.
        norm: Tuple, the size of each low-rank term, that of the skip first:
            `|gamma_j| * ||B_j A_j|| / sqrt(D)` in the Frobenius norm, which
            is 1 for the identity map. It is the root mean square (RMS) of the
            term for activations with D independent features of variance 1.
            With `normalize`, all terms together have one size, the RMS of the
            learned norm scale.
        share: RMS of the augmentation that is added to the skip,
            `beta * sum_j gamma_j * B_j A_j x_{i-j}`, divided by the RMS of
            the skip, over all positions of a batch and all calls of the
            layer. It is also given for an identity `h`. It is `nan` if the
            skip is 0.
    """

    layer: str
    variant: str
    alpha: float | None = None
    alpha_min: float | None = None
    alpha_max: float | None = None
    beta: float | None = None
    beta_min: float | None = None
    beta_max: float | None = None
    gamma: tuple[float, ...] = ()
    norm: tuple[float, ...] = ()
    share: float | None = None

    @classmethod
    def of(
        cls, layer: Laurel, share: float | None = None
    ) -> "ConnectionSummary":
        """Return the summary of a built `Laurel` layer."""
        return cls(
            layer=layer.path,
            variant=layer.variant,
            **_residual_weights(layer),
            gamma=_floats(layer.gamma),
            norm=_floats(layer.norms()),
            share=share,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a flat dict with keys such as `gamma_0` and `norm_0`.

        Numbers that the connection lacks are left out.
        """
        row = {}
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, tuple):
                row.update({f"{name}_{j}": x for j, x in enumerate(value)})
            elif value is not None:
                row[name] = value
        return row


def quantities(rows):
    """Return the names of all numbers in dicts of `to_dict`, in order."""
    names = {name for row in rows for name in row}
    return sorted((n for n in names if stem(n) in QUANTITIES), key=_rank)


def stem(quantity):
    """Return `"gamma"` for `"gamma_1"`."""
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
    """Return the numbers in a tensor as a tuple, empty for `None`."""
    return () if x is None else tuple(ops.convert_to_numpy(x).ravel().tolist())
