"""Layouts, distributions and memory plans for LAuReL on several devices."""

from keras_laurel.distribution.distributions import FullyShardedDataParallel
from keras_laurel.distribution.distributions import make_distribution
from keras_laurel.distribution.layout_maps import check_layout_map
from keras_laurel.distribution.layout_maps import convolution_layout_map
from keras_laurel.distribution.layout_maps import extend_layout_map
from keras_laurel.distribution.layout_maps import llama_layout_map
from keras_laurel.distribution.memory_plan import MemoryPlan
from keras_laurel.distribution.memory_plan import plan_memory

__all__ = [
    "FullyShardedDataParallel",
    "MemoryPlan",
    "check_layout_map",
    "convolution_layout_map",
    "extend_layout_map",
    "llama_layout_map",
    "make_distribution",
    "plan_memory",
]
