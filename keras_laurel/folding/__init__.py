"""What connections have learned, folded into the layers beside them."""

from keras_laurel.folding.fold import FoldedConnection as FoldedConnection
from keras_laurel.folding.fold import FoldedModel as FoldedModel
from keras_laurel.folding.fold import fold as fold
