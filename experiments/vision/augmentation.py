"""Crop, flip and RandAugment for one image, each drawn from an explicit seed.

Images are float32 of shape `(height, width, 3)` with values from 0 to 255.
"""

import functools

import keras
import tensorflow as tf

NUM_RAND_AUGMENT_OPS = 2
RAND_AUGMENT_LAYERS = (
    "random_shear",
    "random_translation",
    "random_rotation",
    "random_brightness",
    "random_color_degeneration",
    "random_contrast",
    "random_sharpness",
    "random_posterization",
    "solarization",
    "auto_contrast",
)


def augment(encoded, settings, sizes_vary, seed):
    """Decodes an image, augments it and brings it to `(size, size, 3)`.

    The image is a JPEG or a PNG, the seed a tensor of two integers.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    size, augmentations = settings.image_size, settings.augment
    if "crop" in augmentations:
        image = random_resized_crop(encoded, size, seeds[0])
    else:
        image = whole_image(encoded, size, sizes_vary)
    if "flip" in augmentations:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    if "rand_augment" in augmentations:
        image = rand_augment(image, settings.magnitude, seeds[2])
    return tf.ensure_shape(image, (size, size, 3))


def whole_image(encoded, size, sizes_vary):
    """An encoded image as it is evaluated."""
    return (center_crop if sizes_vary else resize)(decode(encoded), size)


def decode(encoded):
    """An encoded image as float32 pixels with three channels."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.cast(tf.ensure_shape(image, (None, None, 3)), tf.float32)


def resize(image, size):
    return tf.image.resize(image, (size, size), antialias=True)


def center_crop(image, size):
    """The usual ImageNet evaluation crop: 224 of a shorter side of 256."""
    shorter = tf.cast(tf.reduce_min(tf.shape(image)[:2]), tf.float32)
    side = tf.cast(tf.round(shorter * (224 / 256)), tf.int32)
    top, left = tf.unstack((tf.shape(image)[:2] - side) // 2)
    return resize(image[top : top + side, left : left + side], size)


def random_resized_crop(encoded, size, seed):
    """Inception's crop: 8 to 100 % of the image, aspect 3:4 to 4:3, resized.

    Of a JPEG, only the window is decoded: decoding is what limits the speed
    of an ImageNet pipeline.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: decode_jpeg_window(encoded, seed),
        lambda: crop_window(decode(encoded), seed),
    )
    return resize(image, size)


def decode_jpeg_window(encoded, seed):
    begin, extent = random_window(tf.image.extract_jpeg_shape(encoded), seed)
    window = tf.concat([begin[:2], extent[:2]], axis=0)
    image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
    return tf.cast(image, tf.float32)


def crop_window(image, seed):
    begin, extent = random_window(tf.shape(image), seed)
    return tf.ensure_shape(tf.slice(image, begin, extent), (None, None, 3))


def random_window(shape, seed):
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return begin, extent


def rand_augment(image, magnitude, seed):
    """RandAugment with the transformations of `keras.layers.RandAugment`.

    The layer itself draws from a generator with a state, so that a resumed run
    would see other images; here each draw follows from `seed`. Only the
    transformation that was drawn is computed, not all eleven.
    """
    transformations = [
        functools.partial(transform, layer)
        for layer in rand_augment_layers(magnitude)
    ]
    transformations.append(equalize)
    for step in range(NUM_RAND_AUGMENT_OPS):
        image = transform_one_way(
            transformations,
            image,
            tf.random.experimental.stateless_fold_in(seed, step),
        )
    return image


def transform_one_way(transformations, image, seed):
    choice = tf.random.stateless_uniform(
        [], seed, 0, len(transformations), tf.int32
    )
    branches = [functools.partial(t, image, seed) for t in transformations]
    return tf.ensure_shape(tf.switch_case(choice, branches), image.shape)


@functools.cache
def rand_augment_layers(magnitude):
    """The layers inside Keras's RandAugment, as TensorFlow functions.

    They run inside tf.data whatever the model's backend is.
    """
    policy = keras.layers.RandAugment(factor=magnitude)
    layers = [getattr(policy, name) for name in RAND_AUGMENT_LAYERS]
    for layer in layers:
        layer.backend.set_backend("tensorflow")
    return layers


def transform(layer, image, seed):
    draws = layer.get_random_transformation(image, seed=SeedFromTensor(seed))
    changed = layer.transform_single_image(image, draws)
    return tf.cast(changed, tf.float32)


def equalize(image, seed):
    """Spreads the levels of each channel evenly; draws nothing from `seed`.

    Under JAX, Keras's own layer unrolls its histogram into 11,000 operations,
    half a minute at the start of each trial.
    """
    pixels = tf.cast(tf.clip_by_value(image, 0, 255), tf.int32)
    channels = [
        tf.gather(equalized_levels(channel), channel)
        for channel in tf.unstack(pixels, axis=-1)
    ]
    return tf.stack(channels, axis=-1)


def equalized_levels(channel):
    """Return the new level for each of the 256 levels."""
    counts = tf.math.bincount(tf.reshape(channel, [-1]), minlength=256)
    below = tf.cast(tf.cumsum(counts), tf.float32)
    lowest = tf.reduce_min(tf.boolean_mask(below, below > 0))
    span = below[-1] - lowest
    spread = tf.round(tf.maximum(below - lowest, 0) * 255 / span)
    return tf.where(span > 0, spread, tf.range(256, dtype=tf.float32))


class SeedFromTensor(keras.random.SeedGenerator):
    """A seed generator without a state: it counts on from a seed tensor."""

    def __init__(self, seed):
        self.seed = seed
        self.draws = 0

    def next(self, ordered=True):
        self.draws += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.draws)
