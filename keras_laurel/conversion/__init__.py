from keras_laurel.conversion.laurelize import laurel_layers as laurel_layers
from keras_laurel.conversion.laurelize import laurelize as laurelize
from keras_laurel.conversion.register import register_blocks as register_blocks
from keras_laurel.conversion.removal import remove_laurel as remove_laurel
from keras_laurel.conversion.residual_sites import (
    residual_sites as residual_sites,
)
from keras_laurel.conversion.sites import ResidualSite as ResidualSite
from keras_laurel.conversion.weights_file import (
    load_laurel_weights as load_laurel_weights,
)
from keras_laurel.conversion.weights_file import (
    save_laurel_weights as save_laurel_weights,
)
