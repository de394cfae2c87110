"""Layers by the names that the paper and other papers give them."""

import difflib
import re
from typing import Any

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
# Published methods that are special cases of equation (2), with their source.
_PUBLISHED: dict[str, dict[str, Any]] = {
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
_DEFAULTS: dict[str, dict[str, Any]] = {
    "rw": {"residual_weights": "softmax"},
    "lr": {"rank": 16},
    "pa": {"num_activations": 3},
}
VARIANTS = tuple(_VARIANTS)
PUBLISHED = tuple(_PUBLISHED)


def get(name: str, /, **options: Any) -> Laurel:
    """Make a layer by the paper's name of a variant, such as `"rw+lr"`.

    Args:
        name: One of `"rw"`, `"lr"`, `"pa"`, `"rw+lr"`, `"rw+pa"`, `"lr+pa"`
            and `"rw+lr+pa"`: learned residual weights, a low-rank map,
            previous activations, and their combinations. Or one of
            `"rezero"`, `"skipinit"` and `"layerscale"` (`alpha` alone, without
            a bound, starting at 0, 0, and 1e-5 per channel), `"denseformer"`
            (all activations) and `"x0"` (the skip and the first activation).
            Those whose weights do not start at 1 change the output of a
            trained model.
        **options: Arguments of `keras_laurel.Laurel`. By default the residual
            weights are `"softmax"`, the rank is 16 and the number of
            activations is 3.

    Returns:
        A layer, not built yet.

    Raises:
        ValueError: if the name is unknown, or an option belongs to a part
            that the name leaves out.

    Example:

    >>> layer = keras_laurel.get("rw+lr+pa", rank=32, num_activations=3)

    Reference: arXiv 2411.07501, section 2; equations (5) and (6).
    """
    if name in PUBLISHED:
        return Laurel(**{**_PUBLISHED[name], **options})
    if name not in VARIANTS:
        raise ValueError(
            f"Argument `name` must be one of {VARIANTS + PUBLISHED}. "
            f"Received: name={name!r}.{_suggestion(name)} For other choices "
            "use `keras_laurel.Laurel`."
        )
    parts = name.split("+")
    for part, defaults in _DEFAULTS.items():
        _check_belongs(name, part in parts, part, defaults, options)
    defaults = {k: v for part in parts for k, v in _DEFAULTS[part].items()}
    return _VARIANTS[name](**{**defaults, **options})


def _suggestion(name):
    """Return the known name that an unknown one is most like, as a question.

    Those with the same parts come first, so that "LR+RW" is "rw+lr".
    """
    if not isinstance(name, str):
        return ""
    parts = set(re.findall("[a-z0-9]+", name.lower()))
    alike = [x for x in VARIANTS if set(x.split("+")) == parts]
    alike += difflib.get_close_matches(name.lower(), VARIANTS + PUBLISHED, 1)
    return f" Did you mean {alike[0]!r}?" if alike else ""


def _check_belongs(name, is_part, part, defaults, options):
    (option,) = defaults
    if is_part and not options.get(option, True):
        raise ValueError(
            f"Argument `{option}` must be set for the variant {name!r}, which "
            f"has '{part}'. Received: {option}={options[option]!r}. Choose a "
            f"variant without '{part}'."
        )
    if not is_part and options.get(option):
        raise ValueError(
            f"Argument `{option}` belongs to '{part}', which the variant "
            f"{name!r} does not have. Received: {option}={options[option]!r}. "
            f"Choose a variant with '{part}', or leave `{option}` out."
        )
