"""The paper's names for what is learned."""

from keras_laurel.layers.laurel import Laurel
from keras_laurel.layers.laurel_lr import LaurelLR
from keras_laurel.layers.laurel_pa import LaurelPA
from keras_laurel.layers.laurel_rw import LaurelRW

_VARIANTS = {
    "rw": LaurelRW,
    "lr": LaurelLR,
    "pa": LaurelPA,
    "rw+lr": Laurel,
    "rw+pa": Laurel,
    "lr+pa": Laurel,
    "rw+lr+pa": Laurel,
}
_DEFAULTS = {
    "rw": {"residual_weights": "softmax"},
    "lr": {"rank": 16},
    "pa": {"num_activations": 3},
}
VARIANTS = tuple(_VARIANTS)


def get(name, /, **options):
    """A layer by the paper's name, such as `"rw+lr"`.

    Args:
        name: One of `"rw"`, `"lr"`, `"pa"`, `"rw+lr"`, `"rw+pa"`, `"lr+pa"`
            and `"rw+lr+pa"`: learned residual weights, low-rank map,
            previous activations, and what they combine to.
        **options: Arguments of `keras_laurel.Laurel`. Where left out, the
            residual weights are `"softmax"`, the rank is 16 and the number
            of activations 3.

    Returns:
        A layer, not built yet.

    Raises:
        ValueError: for an unknown name, or an option that belongs to a part
            which the name leaves out.

    Example:

    >>> layer = keras_laurel.get("rw+lr+pa", rank=32, num_activations=3)

    Reference: arXiv 2411.07501, section 2; equations (5) and (6).
    """
    if name not in VARIANTS:
        raise ValueError(
            f"`get` got {name!r}; it needs one of {VARIANTS}. For other "
            "choices use `keras_laurel.Laurel`."
        )
    parts = name.split("+")
    for part, defaults in _DEFAULTS.items():
        _check_belongs(name, part in parts, part, defaults, options)
    defaults = {k: v for part in parts for k, v in _DEFAULTS[part].items()}
    return _VARIANTS[name](**{**defaults, **options})


def _check_belongs(name, is_part, part, defaults, options):
    (option,) = defaults
    if is_part and not options.get(option, True):
        raise ValueError(
            f"`get({name!r})` got {option}={options[option]!r}, which takes "
            f"the '{part}' out of it. Choose a variant without '{part}'."
        )
    if not is_part and options.get(option):
        raise ValueError(
            f"`get({name!r})` got {option}={options[option]!r}, which belongs "
            f"to '{part}'. Choose a variant with '{part}', or leave "
            f"`{option}` out."
        )
