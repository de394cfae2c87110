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
# Other members of equation (2) that the literature has, and where.
_PUBLISHED = {
    # Bachlechner et al., "ReZero is All You Need", arXiv 2003.04887.
    "rezero": {"residual_weights": "free_branch", "start": 0.0},
    # De and Smith, "Batch Normalization Biases Residual Blocks Towards the
    # Identity Function in Deep Networks", arXiv 2002.10444: SkipInit.
    "skipinit": {"residual_weights": "free_branch", "start": 0.0},
    # Touvron et al., "Going deeper with Image Transformers", arXiv 2103.17239:
    # 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond.
    "layerscale": {
        "residual_weights": "free_branch",
        "per_channel": True,
        "start": 1e-5,
    },
    # Pagliardini et al., "DenseFormer: Enhancing Information Flow in
    # Transformers via Depth Weighted Averaging", arXiv 2402.02622.
    "denseformer": {"residual_weights": "free", "num_activations": "all"},
    # lambda x + mu x_0, as in Karpathy's nanochat.
    "x0": {"num_activations": 1, "first_activation": True},
}
_DEFAULTS = {
    "rw": {"residual_weights": "softmax"},
    "lr": {"rank": 16},
    "pa": {"num_activations": 3},
}
VARIANTS = tuple(_VARIANTS)
PUBLISHED = tuple(_PUBLISHED)


def get(name, /, **options):
    """A layer by the paper's name, such as `"rw+lr"`.

    Args:
        name: One of `"rw"`, `"lr"`, `"pa"`, `"rw+lr"`, `"rw+pa"`, `"lr+pa"`
            and `"rw+lr+pa"`: learned residual weights, low-rank map,
            previous activations, and what they combine to. Or one of
            `"rezero"`, `"skipinit"`, `"layerscale"` (alpha alone, without a
            bound, from 0 or 1e-5 a channel), `"denseformer"` (all
            activations) and `"x0"` (the skip and the first activation). Those
            that do not start with weights of 1 change a trained model.
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
    if name in PUBLISHED:
        return Laurel(**{**_PUBLISHED[name], **options})
    if name not in VARIANTS:
        raise ValueError(
            f"`get` got {name!r}; it needs one of {VARIANTS + PUBLISHED}. "
            "For other choices use `keras_laurel.Laurel`."
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
