"""One of the paper's models as it is trained, for what measures its cost."""

import dataclasses
import sys

import keras

from experiments import ranges
from experiments.language.conversion import build_model
from experiments.language.models import ARCHITECTURES
from experiments.language.models import architecture_of
from experiments.language.settings import LanguageSettings
from experiments.ranges import Checked
from experiments.ranges import setting
from experiments.variants import PLAIN_VARIANTS
from experiments.variants import laurel_layer
from experiments.vision import models as vision
from experiments.vision.settings import VisionSettings
from keras_laurel.conversion import laurelize
from keras_laurel.costs.tpu import compile_program
from keras_laurel.distribution import llama_layout_map
from keras_laurel.distribution import make_distribution
from keras_laurel.distribution.layout_maps import convolution_layout_map

STAGES = (1, 2, 3, 4)
# A chip's samples in a step: 4,096 images on 16 chips, and sequences as many
# as 16 GB hold.
SAMPLES_A_CHIP = {
    "resnet50": 256,
    "tiny": 8,
    "ablation-157m": 8,
    "llm-1b": 2,
    "llm-4b": 1,
}


@dataclasses.dataclass(frozen=True)
class TrainingCase(Checked):
    """A model of the paper in one variant."""

    model: str = setting(
        "ablation-157m",
        f"one of {', '.join(SAMPLES_A_CHIP)}",
        ranges.one_of(*SAMPLES_A_CHIP),
    )
    variant: str = setting(
        "baseline",
        "baseline, deeper, or some of rw, lr and pa joined by +",
        ranges.VARIANTS,
    )
    rank: int | None = setting(
        None, "rank of the lr part; default: the paper's"
    )
    remat: bool = setting(False, "rematerialise a language model's blocks")
    blocks: int | None = setting(
        None, "another number of a language model's blocks"
    )
    sequence_length: int | None = setting(
        None,
        "of a language model; default: 1024, or less where it is made for less",
    )
    stages: tuple[int, ...] = setting(
        STAGES,
        "those of ResNet-50 that get connections",
        ranges.some_of(*STAGES),
    )

    @property
    def is_language_model(self):
        return self.model in ARCHITECTURES

    def build(self):
        """The model, compiled: AdamW for language, SGD for images."""
        model = self.build_model()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = (
            keras.optimizers.AdamW(1e-3)
            if self.is_language_model
            else keras.optimizers.SGD(0.1, momentum=0.9)
        )
        model.compile(optimizer=optimizer, loss=loss)
        return model

    def build_model(self):
        """The model, not compiled."""
        if self.is_language_model:
            return build_model(self.settings(), self.architecture(), seed=0)
        settings = self.settings()
        deeper = self.variant == "deeper"
        blocks = vision.DEEPER_BLOCKS if deeper else vision.BLOCKS
        model = vision.build_resnet(settings, 1000, blocks)
        if self.variant in PLAIN_VARIANTS:
            return model
        layer = laurel_layer(settings, settings.rank)
        return laurelize(
            model, lambda site: layer if stage_of(site) in self.stages else None
        )

    def settings(self):
        if not self.is_language_model:
            return VisionSettings(
                backbone="keras_hub", variant=self.variant, rank=self.rank or 16
            )
        # Steps of language models are to fill the memory.
        frugal = "rw" in self.variant.split("+")
        return LanguageSettings(
            layer_options={"keep_branch": False} if frugal else {},
            model=self.model,
            variant=self.variant,
            rank=self.rank,
            remat=self.remat,
            depth=self.blocks,
            sequence_length=self.sequence_length,
        )

    def architecture(self):
        """The `Architecture` of a language model."""
        return architecture_of(self.settings())

    @property
    def length(self):
        """Tokens of a sequence in a batch."""
        longest = self.architecture().sequence_length
        return self.sequence_length or min(1024, longest)

    def batch(self, batch_size):
        """`(x, y, sample_weight)`: `keras.KerasTensor`s of a global batch."""
        if not self.is_language_model:
            images = (batch_size, *[self.settings().image_size] * 2, 3)
            labels = keras.KerasTensor((batch_size,), "int32")
            return keras.KerasTensor(images), labels, None
        shape = (batch_size, self.length)
        tokens = keras.KerasTensor(shape, "int32")
        x = {
            "token_ids": tokens,
            "padding_mask": keras.KerasTensor(shape, "bool"),
        }
        return x, tokens, keras.KerasTensor(shape)

    def compile(self, batch_size, distribution="data", mesh=None, **options):
        """The `ProgramCost` of this model, with a batch for all chips.

        `distribution` and `mesh` are those of `make_distribution`, `options`
        further ones of `compile_program`.
        """
        language = self.is_language_model
        what = f"{self.variant}, {options.get('program', 'train')}"
        print(f"Compiling {self.model} {what} ...", file=sys.stderr)
        return compile_program(
            self.build,
            *self.batch(batch_size),
            distribution=lambda devices: make_distribution(
                distribution,
                mesh,
                devices,
                llama_layout_map if language else convolution_layout_map,
                auto_shard_dataset=False,
            ),
            **options,
        )


def stage_of(site):
    """Return the stage, 1 to 4, of a site of ResNet-50, from its width."""
    return STAGES[vision.FILTERS.index(site.output_shape[-1] // 4)]
