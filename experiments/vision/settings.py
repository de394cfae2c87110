"""The settings of a run on images."""

import dataclasses
import typing

from experiments import ranges
from experiments.ranges import Shared
from experiments.ranges import setting

AT_LEAST_28 = ranges.Range(lambda x: x >= 28, "28 pixels or more")
FROM_0_TO_1 = ranges.Range(lambda x: 0 <= x <= 1, "a number from 0 to 1")
AUGMENTATIONS = ranges.some_of("crop", "flip", "rand_augment")


@dataclasses.dataclass(frozen=True)
class VisionSettings(Shared):
    """Settings of a run on images, checked."""

    trainer: typing.ClassVar[str] = "experiments.vision.trainer"

    rank: int = setting(16, "rank of the lr part")
    sites: str = setting(
        "all",
        "connections that are converted: all 16, or the 12 whose skip is the "
        "identity",
        ranges.one_of("all", "identity"),
    )
    backbone: str = setting(
        "keras_cv",
        "whose ResNet-50; narrow has its 16 connections and few filters",
        ranges.one_of("keras_cv", "keras_hub", "narrow"),
    )
    width: int = setting(16, "filters of the narrow network's first stage")
    batch_norm_momentum: float = setting(
        0.9, "of the running mean and variance", ranges.BELOW_1
    )
    dataset: str = setting(
        "imagenet2012",
        "digits, mnist_5k, fashion_mnist (read from installed packages), or "
        "an image classification set that TFDS has prepared",
    )
    image_size: int = setting(224, "side of the square images", AT_LEAST_28)
    augment: tuple[str, ...] = setting(
        (), "any of crop, flip, rand_augment", AUGMENTATIONS
    )
    magnitude: float = setting(0.3, "strength of rand_augment", FROM_0_TO_1)
    epochs: int = setting(90, "passes over the training split")
    batch_size: int = setting(256, "images per step, over all devices together")
    optimizer: str = setting(
        "sgd",
        "sgd has Nesterov momentum 0.9; both decay weights apart from the "
        "gradient",
        ranges.one_of("sgd", "adamw"),
    )
    learning_rate: float = setting(0.1, "peak rate", ranges.ABOVE_0)
    warmup_epochs: float = setting(
        5.0,
        "epochs of linear warm-up, before half a cosine to 0",
        ranges.AT_LEAST_0,
    )
    weight_decay: float = setting(
        1e-3,
        "leaves out biases, normalisation and LAuReL's scalars",
        ranges.AT_LEAST_0,
    )
    label_smoothing: float = setting(
        0.1, "share of a label spread over all classes", ranges.BELOW_1
    )
    keep_model: bool = setting(False, "save the model and evaluate the file")

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                "Setting `warmup_epochs` must be less than `epochs`. Received: "
                f"warmup_epochs={self.warmup_epochs}, epochs={self.epochs}."
            )
