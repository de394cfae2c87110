"""LAuReL: learned augmented residual connections for Keras 3."""

from keras_laurel import costs
from keras_laurel import distribution
from keras_laurel import initializers
from keras_laurel import learned
from keras_laurel.conversion import laurel_layers
from keras_laurel.conversion import laurelize
from keras_laurel.conversion import load_laurel_weights
from keras_laurel.conversion import register_blocks
from keras_laurel.conversion import remove_laurel
from keras_laurel.conversion import residual_sites
from keras_laurel.conversion import save_laurel_weights
from keras_laurel.conversion.hub.registration import register as _register_hub
from keras_laurel.folding import fold
from keras_laurel.layers import Laurel
from keras_laurel.layers import LaurelLR
from keras_laurel.layers import LaurelPA
from keras_laurel.layers import LaurelRW
from keras_laurel.layers import get
from keras_laurel.optimizers import prepare_optimizer

__version__ = "0.1.0"

_register_hub()

__all__ = [
    "Laurel",
    "LaurelLR",
    "LaurelPA",
    "LaurelRW",
    "costs",
    "distribution",
    "fold",
    "get",
    "initializers",
    "laurel_layers",
    "laurelize",
    "learned",
    "load_laurel_weights",
    "prepare_optimizer",
    "register_blocks",
    "remove_laurel",
    "residual_sites",
    "save_laurel_weights",
]
