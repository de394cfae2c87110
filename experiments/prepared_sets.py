"""Sets that TFDS has prepared on this machine. Nothing here downloads."""

import contextlib
import io

import tensorflow_datasets as tfds


def find_prepared(name, packaged, data_dir, packaged_dir):
    """The prepared TFDS builder of the set `name`.

    Args:
        name: A packaged set (prepared here at first use) or any TFDS set that
            is already prepared.
        packaged: Dict of the builders of packaged sets by their names.
        data_dir: The TFDS folder to look in; None is TFDS's own default.
        packaged_dir: Where packaged sets are prepared without a `data_dir`.
    """
    if name in packaged:
        return _prepare_packaged(packaged[name], data_dir or packaged_dir)
    builder = _find_builder(name, data_dir, packaged)
    _check_prepared(builder, name, packaged)
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


def _find_builder(name, data_dir, packaged):
    """TFDS's builder of a set, prepared or not.

    Args:
        name: As TFDS has it, such as `imagenet2012` or `wiki40b/en`.
        data_dir: The TFDS folder to look in; None is TFDS's own default.
        packaged: Names of sets that need no preparation, for the error.
    """
    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Setting `dataset` must be one of {', '.join(packaged)} or a name "
            f"of a TFDS set. Received: {name}. `tfds.list_builders()` lists "
            "the names."
        ) from error


def _check_prepared(builder, name, packaged):
    """Raise if the set is not on disk: no program here downloads."""
    if builder.is_prepared():
        return
    manual = ""
    if name.startswith("imagenet2012"):
        manual = (
            " (imagenet2012 also needs its two tar files under "
            "DIR/downloads/manual, see "
            "https://www.tensorflow.org/datasets/catalog/imagenet2012)"
        )
    raise ValueError(
        f"The set `{name}` is not prepared: nothing at {builder.data_path}. "
        f"Prepare it with `tfds build {name} --data_dir DIR`{manual} and pass "
        "`--data-dir DIR`. Sets that need no download: "
        f"{', '.join(packaged)}."
    )


def choose_splits(builder, train_split, eval_split):
    """Names of the training and of the evaluation split, checked.

    Without an `eval_split`, `validation` is taken before `test`: ImageNet's
    test labels are not public.
    """
    known = builder.info.splits
    preferred = [name for name in ("validation", "test") if name in known]
    splits = train_split, eval_split or next(iter(preferred), "validation")
    for split in splits:
        _check_split(builder, split)
    return splits


def _check_split(builder, split):
    try:
        count = builder.info.splits[split].num_examples
    except (KeyError, ValueError):
        count = 0
    if not count:
        raise ValueError(
            f"`{builder.name}` has no examples in the split `{split}`; "
            f"expected one of {sorted(builder.info.splits)} or a slice of one. "
            "Pass `--train-split` and `--eval-split`, for example "
            "`train[:90%]` and `train[90%:]`."
        )
