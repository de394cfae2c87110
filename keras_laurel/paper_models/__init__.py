"""The models of the paper's experiments, plain and with LAuReL.

They are built of KerasHub's parts; it is imported when one is built.
"""

from keras_laurel.paper_models.language import ARCHITECTURES
from keras_laurel.paper_models.language import Architecture
from keras_laurel.paper_models.language import build_language_model
from keras_laurel.paper_models.training_case import MODELS
from keras_laurel.paper_models.training_case import TrainingCase
from keras_laurel.paper_models.variants import PLAIN_VARIANTS
from keras_laurel.paper_models.variants import LaurelSizes
from keras_laurel.paper_models.vision import build_resnet50
from keras_laurel.paper_models.vision import build_resnet50_backbone

__all__ = [
    "ARCHITECTURES",
    "MODELS",
    "PLAIN_VARIANTS",
    "Architecture",
    "LaurelSizes",
    "TrainingCase",
    "build_language_model",
    "build_resnet50",
    "build_resnet50_backbone",
]
