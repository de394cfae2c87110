from keras_laurel.footprint.measure import footprint as footprint
from keras_laurel.footprint.report import (
    ConnectionFootprint as ConnectionFootprint,
)
from keras_laurel.footprint.report import Footprint as Footprint
