"""The cost of a Keras model on a TPU, from the TPU compiler, without a TPU.

It needs the JAX backend and the extra `tpu`:
`pip install "keras-laurel[tpu]"`.
"""

from keras_laurel.costs.tpu.chips import CHIPS
from keras_laurel.costs.tpu.chips import Chip
from keras_laurel.costs.tpu.compiler import compile_program
from keras_laurel.costs.tpu.program_cost import ProgramCost

__all__ = ["CHIPS", "Chip", "ProgramCost", "compile_program"]
