"""Fold the learned weights of connections into their neighbours."""

from keras_laurel.folding.fold import FoldedConnection as FoldedConnection
from keras_laurel.folding.fold import FoldedModel as FoldedModel
from keras_laurel.folding.fold import fold as fold
