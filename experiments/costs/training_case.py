"""One of the paper's models as it is trained, for what measures its cost."""

import dataclasses

import keras

from experiments.language.models import ARCHITECTURES
from experiments.language.models import build_language_model
from experiments.variants import PLAIN_VARIANTS
from experiments.variants import LaurelSizes
from experiments.vision.models import BLOCKS
from experiments.vision.models import DEEPER_BLOCKS
from experiments.vision.models import FILTERS
from experiments.vision.models import build_keras_hub
from experiments.vision.models import with_head
from keras_laurel.checks import check_integer
from keras_laurel.conversion import laurelize

STAGES = (1, 2, 3, 4)
# A chip's samples in a step: 4,096 images on 16 chips, and sequences as many
# as 16 GB hold.
_SAMPLES_A_CHIP = {
    "resnet50": 256,
    "tiny": 8,
    "ablation-157m": 8,
    "llm-1b": 2,
    "llm-4b": 1,
}
MODELS = tuple(_SAMPLES_A_CHIP)


@dataclasses.dataclass(frozen=True)
class TrainingCase:
    """A model of the paper in one variant.

    Args:
        model: One of `MODELS`.
        variant: `"baseline"`, `"deeper"` or a name that `keras_laurel.get`
            knows.
        rank: r; the default is the paper's for the model.
        num_activations: k.
        remat: Boolean. Rematerialise the blocks of a language model.
        num_blocks: Another number of blocks for a language model.
        sequence_length: Of a language model's sequences; the default is 1024,
            or less where the model is made for less.
        image_size: Side of ResNet-50's square images, in pixels.
        keep_branch: As `keras_laurel.Laurel` takes it. The default is True
            for ResNet-50, and False for language models, whose steps are to
            fill the memory.
        stages: Those of ResNet-50's four stages that get connections.

    Raises:
        ValueError: for another model, or what the model does not have.
    """

    model: str
    variant: str = "baseline"
    rank: int | None = None
    num_activations: int = 3
    remat: bool = False
    num_blocks: int | None = None
    sequence_length: int | None = None
    image_size: int = 224
    keep_branch: bool | None = None
    stages: tuple[int, ...] = STAGES

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(
                f"Argument `model` must be one of {', '.join(MODELS)}. "
                f"Received: model={self.model!r}."
            )
        for name in ("rank", "num_blocks", "sequence_length"):
            check_integer(name, getattr(self, name), 1, optional=True)
        if self.is_language_model:
            self._check_length()
        else:
            self._check_images()

    def _check_images(self):
        if not self.stages or not {*self.stages} <= {*STAGES}:
            raise ValueError(
                f"Argument `stages` must be some of {STAGES}. Received: "
                f"stages={self.stages!r}."
            )
        if self.remat or self.num_blocks or self.sequence_length:
            raise ValueError(
                "ResNet-50 has a fixed number of blocks, no sequences, and is "
                "not built rematerialised; received "
                f"num_blocks={self.num_blocks}, remat={self.remat}, "
                f"sequence_length={self.sequence_length}. Leave them out."
            )

    def _check_length(self):
        longest = self.architecture().sequence_length
        if (self.sequence_length or 0) > longest:
            raise ValueError(
                f"Argument `sequence_length` must be at most {longest} for "
                f"the model {self.model!r}. Received: "
                f"sequence_length={self.sequence_length}."
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
        keep_branch = self.keep_branch
        if keep_branch is None:
            keep_branch = not self.is_language_model
        if not self.is_language_model:
            rank = self.rank or 16
            sizes = LaurelSizes(rank, self.num_activations, keep_branch)
            return self._build_resnet50(sizes)
        architecture = self.architecture()
        rank = self.rank or architecture.paper_rank
        sizes = LaurelSizes(rank, self.num_activations, keep_branch)
        return build_language_model(
            self.variant, architecture, sizes, remat=self.remat
        )

    def _build_resnet50(self, sizes):
        blocks = DEEPER_BLOCKS if self.variant == "deeper" else BLOCKS
        shape = (self.image_size, self.image_size, 3)
        model = with_head(build_keras_hub(shape, blocks), num_classes=1000)
        if self.variant in PLAIN_VARIANTS:
            return model
        layer = sizes.layer(self.variant)
        return laurelize(
            model, lambda site: layer if stage_of(site) in self.stages else None
        )

    def architecture(self):
        """The `Architecture` of a language model."""
        architecture = ARCHITECTURES[self.model]
        if self.num_blocks:
            changes = {"num_blocks": self.num_blocks}
            architecture = dataclasses.replace(architecture, **changes)
        return architecture

    def batch(self, batch_size):
        """`(x, y, sample_weight)`: `keras.KerasTensor`s of a global batch."""
        if not self.is_language_model:
            images = (batch_size, self.image_size, self.image_size, 3)
            labels = keras.KerasTensor((batch_size,), "int32")
            return keras.KerasTensor(images), labels, None
        longest = self.architecture().sequence_length
        length = self.sequence_length or min(1024, longest)
        tokens = keras.KerasTensor((batch_size, length), "int32")
        x = {
            "token_ids": tokens,
            "padding_mask": keras.KerasTensor((batch_size, length), "bool"),
        }
        return x, tokens, keras.KerasTensor((batch_size, length))

    def batch_size(self, num_chips):
        """The global batch that is used where none is asked for."""
        return _SAMPLES_A_CHIP[self.model] * num_chips


def stage_of(site):
    """Return the stage, 1 to 4, of a site of ResNet-50, from its width."""
    return STAGES[FILTERS.index(site.output_shape[-1] // 4)]
