from keras_laurel.conversion.laurelize import laurel_layers as laurel_layers
from keras_laurel.conversion.laurelize import laurelize as laurelize
from keras_laurel.conversion.register import register_blocks as register_blocks
from keras_laurel.conversion.residual_sites import (
    residual_sites as residual_sites,
)
from keras_laurel.conversion.sites import ResidualSite as ResidualSite
