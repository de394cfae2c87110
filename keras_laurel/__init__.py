"""LAuReL: learned augmented residual connections for Keras 3."""

from keras_laurel.conversion import ResidualSite
from keras_laurel.conversion import laurel_layers
from keras_laurel.conversion import laurelize
from keras_laurel.conversion import residual_sites
from keras_laurel.initializers import ColumnOrthogonal
from keras_laurel.layers import Laurel
from keras_laurel.layers import LaurelLR
from keras_laurel.layers import LaurelPA
from keras_laurel.layers import LaurelRW
from keras_laurel.layers import get

__version__ = "0.1.0"

__all__ = [
    "ColumnOrthogonal",
    "Laurel",
    "LaurelLR",
    "LaurelPA",
    "LaurelRW",
    "ResidualSite",
    "get",
    "laurel_layers",
    "laurelize",
    "residual_sites",
]
