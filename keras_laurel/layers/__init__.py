from keras_laurel.layers.laurel import Laurel as Laurel
from keras_laurel.layers.laurel_lr import LaurelLR as LaurelLR
from keras_laurel.layers.laurel_pa import LaurelPA as LaurelPA
from keras_laurel.layers.laurel_rw import LaurelRW as LaurelRW
from keras_laurel.layers.variants import VARIANTS as VARIANTS
from keras_laurel.layers.variants import get as get
