from keras_laurel.conversion.laurelize import laurel_layers as laurel_layers
from keras_laurel.conversion.laurelize import laurelize as laurelize
from keras_laurel.conversion.residual_site import ResidualSite as ResidualSite
from keras_laurel.conversion.residual_sites import (
    residual_sites as residual_sites,
)
