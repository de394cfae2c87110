"""Sizes of a training in batches, its schedule and its optimizer."""

import dataclasses

import keras

from experiments.training import prepared
from experiments.training import warmed_up


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The tokens of a training as batches; a step is one batch.

    Args:
        sequence_length: Tokens of a sequence.
        batch_size: Sequences of a batch.
        steps: Batches in all.
        rounds: Evaluations.
        vocabulary_size: Tokens that the model can tell apart.
    """

    sequence_length: int
    batch_size: int
    steps: int
    rounds: int
    vocabulary_size: int

    @property
    def tokens_per_batch(self):
        return self.sequence_length * self.batch_size

    @property
    def steps_per_round(self):
        return self.steps // self.rounds


def sizes_of(settings, architecture):
    """The `Sizes` of some settings.

    Raises:
        ValueError: If tokens, steps and rounds do not divide.
    """
    length = architecture.sequence_length
    batch = divided("tokens_per_step", settings, length * settings.accumulate)
    updates = divided("tokens", settings, settings.tokens_per_step)
    steps = updates * settings.accumulate
    divided("tokens", settings, settings.tokens_per_step * settings.rounds)
    return Sizes(
        length, batch, steps, settings.rounds, architecture.vocabulary_size
    )


def divided(name, settings, size):
    value = getattr(settings, name)
    if value % size:
        raise ValueError(
            f"Setting `{name}` must be a multiple of {size:,} (sequence_length "
            "times accumulate for tokens_per_step; tokens_per_step times "
            f"rounds for tokens). Received: {name}={value}. Use for example "
            f"{-(-value // size) * size}."
        )
    return value // size


@keras.saving.register_keras_serializable(package="experiments")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Up to the peak, along it, and down to 0, all in straight lines."""

    def __init__(self, peak, warmup_steps, decay_steps, steps):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.steps = steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        up = step / max(self.warmup_steps, 1) if self.warmup_steps else 1.0
        down = (self.steps - step) / self.decay_steps
        return self.peak * keras.ops.clip(keras.ops.minimum(up, down), 0, 1)

    def get_config(self):
        return dict(vars(self))


def build_schedule(settings, steps):
    """The learning rate as a function of the step."""
    warmup, peak = round(settings.warmup * steps), settings.learning_rate
    if settings.schedule == "wsd":
        decay = max(1, round(settings.decay * steps))
        return WarmupStableDecay(peak, warmup, decay, steps)
    return warmed_up(peak, warmup, steps, least=0.1)


def build_optimizer(settings, steps):
    """AdamW whose weight decay leaves out scales, LAuReL's among them."""
    several = settings.accumulate > 1
    optimizer = keras.optimizers.AdamW(
        build_schedule(settings, steps),
        weight_decay=settings.weight_decay,
        beta_2=0.95,
        global_clipnorm=settings.clip_norm,
        gradient_accumulation_steps=settings.accumulate if several else None,
        use_ema=settings.averaging > 0,
        ema_momentum=settings.averaging or 0.99,
    )
    return prepared(optimizer, settings, ["scale"])


def compile_language_model(model, settings, steps):
    model.compile(
        optimizer=build_optimizer(settings, steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
        sampler="greedy",
    )
    return model
