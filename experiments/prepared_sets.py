"""Sets that TFDS has prepared on this machine. Nothing here downloads."""

import contextlib
import io
from pathlib import Path

import tensorflow_datasets as tfds


class PackagedSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of TFDS builders of sets that are made of what is installed here.

    Subclasses have a `name`, and `features`, a dict.
    """

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        features = tfds.features.FeaturesDict(self.features)
        return tfds.core.DatasetInfo(builder=self, features=features)


def find_prepared(name, packaged, kinds, data_dir, packaged_dir):
    """The prepared TFDS builder of the set `name`.

    Args:
        name: A packaged set (prepared here at first use) or any TFDS set that
            is already prepared, such as `imagenet2012` or `wiki40b/en`.
        packaged: Dict of the builders of packaged sets by their names.
        kinds: Dict of the class of each feature that the set must have.
        data_dir: The TFDS folder to look in; None is TFDS's own default.
        packaged_dir: Where packaged sets are prepared without a `data_dir`.
    """
    if name in packaged:
        return _prepare_packaged(packaged[name], data_dir or packaged_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Setting `dataset` must be one of {', '.join(packaged)} or a name "
            f"of a TFDS set. Received: {name}. `tfds.list_builders()` lists "
            "the names."
        ) from error
    if not builder.is_prepared():
        raise ValueError(
            f"The set `{name}` is not prepared: nothing at "
            f"{builder.data_path}. Prepare it with `tfds build {name} "
            "--data_dir DIR` and pass `--data-dir DIR`. Sets that need no "
            f"download: {', '.join(packaged)}."
        )
    found = builder.info.features
    for feature, kind in kinds.items():
        if not (feature in found and isinstance(found[feature], kind)):
            raise ValueError(
                f"`{name}` must have a feature `{feature}`, a {kind.__name__}. "
                f"Received: the features {sorted(found)}. Choose another TFDS "
                "set."
            )
    return builder


def _prepare_packaged(builder_class, data_dir):
    """The builder of a packaged set, written to `data_dir` if not there."""
    builder = builder_class(data_dir=data_dir)
    if not builder.data_path.exists():
        print(f"Preparing {builder.name} in {builder.data_path}", flush=True)
        tfds.disable_progress_bar()
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config)
    return builder


def choose_splits(builder, train_split, eval_split):
    """Names of the training and of the evaluation split, checked.

    Without an `eval_split`, `validation` is taken before `test`: ImageNet's
    test labels are not public.
    """
    known = builder.info.splits
    preferred = [name for name in ("validation", "test") if name in known]
    eval_split = eval_split or next(iter(preferred), "validation")
    for split in (train_split, eval_split):
        try:
            count = known[split].num_examples
        except (KeyError, ValueError):
            count = 0
        if not count:
            raise ValueError(
                f"`{builder.name}` has no examples in the split `{split}`; "
                f"expected one of {sorted(known)} or a slice of one. Pass "
                "`--train-split` and `--eval-split`, for example "
                "`train[:90%]` and `train[90%:]`."
            )
    return train_split, eval_split
