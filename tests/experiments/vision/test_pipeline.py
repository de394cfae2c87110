"""The input pipeline: reproducible, complete, divided, and fit for ImageNet."""

import dataclasses
import io

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.prepared_sets import choose_splits
from experiments.vision.datasets import open_builder
from experiments.vision.pipeline import Images
from experiments.vision.settings import VisionSettings


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    builder = open_builder("digits", None, tmp_path_factory.mktemp("digits"))
    settings = VisionSettings(
        image_size=32, batch_size=128, epochs=3, warmup_epochs=0
    )
    return Images(builder, settings, ("train", "test"), seed=3)


def changed(images, **settings):
    settings = dataclasses.replace(images.settings, **settings)
    return dataclasses.replace(images, settings=settings)


def images_of(batches):
    return np.concatenate([batch[0] for batch in batches])


@pytest.mark.parametrize(
    "augmentations", [("crop",), ("crop", "flip", "rand_augment")]
)
def test_a_later_start_sees_the_same_images(digits, augmentations):
    pipeline = dataclasses.replace(
        changed(digits, augment=augmentations), splits=("train[:256]", "test")
    )
    whole = images_of(pipeline.training())
    resumed = images_of(pipeline.training(1))
    assert len(whole) == 3 * 256
    np.testing.assert_array_equal(whole[256:], resumed)
    assert np.isfinite(whole).all()
    assert np.abs(whole[:256] - whole[256:512]).max() > 0
    other = changed(dataclasses.replace(pipeline, seed=4), epochs=1)
    other = images_of(other.training())
    assert np.abs(whole[:256] - other).max() > 0


def test_evaluation_covers_the_split_once_in_full_batches(digits):
    batches = list(digits.evaluation())
    assert len(batches) == digits.evaluation_steps == 3
    assert {len(images) for images, _, _ in batches} == {128}
    weights = np.concatenate([weights for _, _, weights in batches])
    classes = np.concatenate([labels for _, labels, _ in batches])
    assert weights.sum() == classes.sum() == 359


def test_processes_share_each_epoch_without_overlap(digits):
    parts = [
        dataclasses.replace(changed(digits, epochs=1), shard=(index, 4))
        for index in range(4)
    ]
    trained = [images_of(part.training()) for part in parts]
    assert [len(part) for part in trained] == [1408 // 4] * 4
    different = np.unique(np.concatenate(trained).round(4), axis=0)
    assert len(different) == 1408
    evaluated = [
        sum(float(weights.numpy().sum()) for _, _, weights in part)
        for part in (p.evaluation() for p in parts)
    ]
    assert sum(evaluated) == 359


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """ImageNet's own builder, with metadata of a prepared set, mock images."""
    folder = tmp_path_factory.mktemp("imagenet")
    builder = tfds.builder("imagenet2012", data_dir=folder)
    splits = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=[6, 6],
            num_bytes=0,
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=builder.data_path,
                dataset_name="imagenet2012",
                split=name,
                filetype_suffix="tfrecord",
            ),
        )
        for name in ("train", "validation")
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(splits))
    builder.data_path.mkdir(parents=True)
    builder.info.write_to_directory(builder.data_path)
    with tfds.testing.mock_data(num_examples=12, data_dir=str(folder)):
        yield open_builder("imagenet2012", str(folder), None)


def test_imagenet_is_decoded_cropped_and_resized(imagenet):
    assert choose_splits(imagenet, "train", None) == ("train", "validation")
    settings = VisionSettings(
        batch_size=4, augment=("crop", "flip"), epochs=2, warmup_epochs=0
    )
    pipeline = Images(imagenet, settings, ("train", "validation"), seed=1)
    assert pipeline.sizes_vary and pipeline.num_classes == 1000
    batches = list(pipeline.training())
    assert len(batches) == 2 * 3
    for images, labels in batches:
        assert images.shape == (4, 224, 224, 3)
        assert labels.numpy().sum(-1).tolist() == [1.0] * 4
        assert -1 <= images.numpy().min() <= images.numpy().max() <= 1
    ((images, _, weights),) = changed(pipeline, batch_size=16).evaluation()
    assert images.shape == (16, 224, 224, 3)
    assert weights.numpy().tolist() == [1.0] * 12 + [0.0] * 4


def png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_evaluation_crops_the_centre_and_keeps_the_aspect():
    from experiments.vision.augmentation import center_crop
    from experiments.vision.augmentation import decode

    pixels = np.zeros((256, 512, 3), "uint8")
    pixels[16:240, 144:368] = 200
    cropped = center_crop(decode(png(pixels)), 224).numpy()
    assert cropped.shape == (224, 224, 3)
    np.testing.assert_allclose(cropped, 200)


@pytest.mark.filterwarnings("ignore:Tensor.T is deprecated")
def test_equalize_is_that_of_keras():
    from experiments.vision.augmentation import equalize

    pixels = np.random.default_rng(0).integers(30, 90, (16, 16, 3))
    pixels[..., 2] = 7
    image = pixels.astype("float32")
    expected = keras.layers.Equalization()(image)
    np.testing.assert_allclose(equalize(image, None), expected, atol=1)
