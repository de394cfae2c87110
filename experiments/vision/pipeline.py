"""The one input pipeline: from a TFDS set to batches, reproducibly.

Nothing random here keeps a state. The order of an epoch follows from (seed,
epoch), the augmentation of an image from (seed, epoch, position in the epoch).
A run that resumes at epoch 7 therefore sees exactly the images that it would
have seen without the interruption.
"""

import dataclasses

import tensorflow as tf
import tensorflow_datasets as tfds

from experiments.vision.augmentation import augment
from experiments.vision.augmentation import whole_image

SHUFFLE_BUFFER = 16_384


@dataclasses.dataclass(frozen=True)
class Images:
    """The batches of a run, as `training.fit` takes them.

    Args:
        builder: A prepared TFDS builder with the features `image`, `label`.
        settings: `VisionSettings`.
        splits: Names of the training and of the evaluation split.
        seed: Of the order and the augmentation.
        shard: Which of the processes that share the work this is, and how many
            there are.
    """

    builder: tfds.core.DatasetBuilder
    settings: object
    splits: tuple
    seed: int = 0
    shard: tuple = (0, 1)

    @property
    def num_classes(self):
        return self.builder.info.features["label"].num_classes

    @property
    def sizes_vary(self):
        return None in self.builder.info.features["image"].shape

    @property
    def local_batch_size(self):
        return self.settings.batch_size // self.shard[1]

    @property
    def counts(self):
        """Numbers of examples of the two splits."""
        splits = self.builder.info.splits
        return tuple(splits[split].num_examples for split in self.splits)

    @property
    def training_steps(self):
        """Full batches in an epoch; what is left over waits for the next."""
        return self.counts[0] // self.settings.batch_size

    def training(self, done=0):
        """Batches `(images, one_hot_labels)` behind `done` epochs."""

        @tf.autograph.experimental.do_not_convert
        def one_epoch(epoch):
            # In this function's graph only: beside a global seed, shuffling
            # does not take a seed that is a tensor.
            tf.random.set_seed(None)
            return self._training_epoch(fold_in((self.seed, 0), epoch))

        epochs = tf.data.Dataset.range(done, self.settings.epochs)
        return epochs.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)

    def _training_epoch(self, seed):
        def prepare(position, example):
            image = augment(
                example["image"],
                self.settings,
                self.sizes_vary,
                fold_in(seed, position),
            )
            return normalize(image), self._one_hot(example["label"])

        buffer = min(SHUFFLE_BUFFER, self.counts[0])
        return (
            self._read(self._part(self.splits[0]), seed)
            .shuffle(buffer, as_scalar(seed), False)
            .take(self.training_steps * self.local_batch_size)
            .enumerate()
            .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(self.local_batch_size, drop_remainder=True)
        )

    def _part(self, split):
        """The part of a split that this process reads, all of it if alone."""
        index, count = self.shard
        return tfds.even_splits(split, count)[index] if count > 1 else split

    def _read(self, split, seed=None):
        """Examples whose image is still encoded, files shuffled by `seed`."""
        read_config = tfds.ReadConfig(
            shuffle_seed=None if seed is None else as_scalar(seed),
            shuffle_reshuffle_each_iteration=False,
            try_autocache=False,
        )
        return self.builder.as_dataset(
            split=split,
            shuffle_files=seed is not None,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=read_config,
        )

    @property
    def evaluation_steps(self):
        return -(-self.counts[1] // self.settings.batch_size)

    def evaluation(self, rounds=1):
        """The whole split in full batches `(images, labels, weights)`.

        The last batch is filled up with examples of weight 0: weighted
        metrics stay exact, every batch divides by the number of devices, and
        XLA need not compile the model again for one odd shape.
        """
        index, count = self.shard
        rows = self._read(self.splits[1]).shard(count, index)
        size = self.evaluation_steps * self.local_batch_size
        return (
            rows.map(self._evaluated, num_parallel_calls=tf.data.AUTOTUNE)
            .concatenate(self._padding())
            .take(size)
            .batch(self.local_batch_size, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    def _evaluated(self, example):
        size = self.settings.image_size
        image = whole_image(example["image"], size, self.sizes_vary)
        return normalize(image), self._one_hot(example["label"]), 1.0

    def _padding(self):
        image = tf.zeros((*[self.settings.image_size] * 2, 3))
        empty = (image, tf.zeros(self.num_classes), 0.0)
        return tf.data.Dataset.from_tensors(empty).repeat()

    def _one_hot(self, label):
        return tf.one_hot(label, self.num_classes)


def normalize(image):
    """Pixels from 0 to 255 become numbers from -1 to 1."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def fold_in(seed, number):
    """Return a new seed of shape (2,) from a seed and a number."""
    return tf.random.experimental.stateless_fold_in(
        tf.cast(seed, tf.int64), tf.cast(number, tf.int64)
    )


def as_scalar(seed):
    """Return a positive int64 from a seed; 0 is "no seed" in tf.data."""
    return tf.random.stateless_uniform([], seed, 1, 2**62, tf.int64)
