"""The cost of a model, counted from its shapes or compiled for a TPU."""

from keras_laurel.costs import tpu as tpu
from keras_laurel.costs.measure import footprint as footprint
from keras_laurel.costs.report import ConnectionFootprint as ConnectionFootprint
from keras_laurel.costs.report import Footprint as Footprint
