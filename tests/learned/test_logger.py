"""The log that `fit` writes."""

import csv
import sys

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel.learned import LaurelLogger
from keras_laurel.learned import laurel_summary

BATCHES, BATCH_SIZE, WIDTH = 3, 4, 8


def build(seed=0, accumulate=None, **options):
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((WIDTH,))
    for name in ("first", "second"):
        layer = keras_laurel.get("rw+lr+pa", rank=2, name=name)
        fx = keras.layers.Dense(WIDTH, activation="tanh")(x)
        x = layer([x, fx, *([] if name == "first" else [inputs])])
    model = keras.Model(inputs, x)
    optimizer = keras.optimizers.SGD(
        0.5, gradient_accumulation_steps=accumulate
    )
    model.compile(optimizer, "mse", **options)
    return model


def data():
    shape = (2, BATCHES * BATCH_SIZE, WIDTH)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def fit(model, *callbacks, epochs=1, **options):
    x, y = data()
    model.fit(
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **options,
    )
    return model


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def steps(path):
    """The steps, each of which has a row for both connections."""
    rows = read(path)
    assert [row["connection"] for row in rows] == ["0", "1"] * (len(rows) // 2)
    return [int(row["step"]) for row in rows[::2]]


def test_numbers_are_those_after_the_batch(tmp_path):
    path, batch = tmp_path / "new" / "log.csv", data()[0][:2]
    fit(build(), LaurelLogger(path, every=1, inputs=batch), epochs=2)
    expected, twin = [], build()
    for step in range(2 * BATCHES + 1):
        if step:
            part = (step - 1) % BATCHES * BATCH_SIZE
            twin.train_on_batch(*data()[:, part : part + BATCH_SIZE])
        epoch = max(step - 1, 0) // BATCHES
        for i, row in enumerate(laurel_summary(twin, batch).connections):
            keys = {"step": step, "epoch": epoch, "connection": i}
            expected.append({**keys, **row.to_dict()})
    assert len({row["alpha"] for row in expected}) > 2 * BATCHES
    for row, wanted in zip(read(path), expected, strict=True):
        assert {k for k, v in row.items() if v} == set(wanted)
        for name, value in wanted.items():
            if isinstance(value, str):
                assert row[name] == value
            else:
                assert float(row[name]) == pytest.approx(value, 1e-4, 1e-6)


def test_columns(tmp_path):
    path = tmp_path / "log.csv"
    fit(build(), LaurelLogger(path))
    assert path.read_text().splitlines()[0] == (
        "step,epoch,connection,layer,variant,alpha,beta,"
        "gamma_0,gamma_1,norm_0,norm_1"
    )


@pytest.mark.parametrize(
    "every, options, expected",
    [
        ("epoch", {}, [0, 3, 6]),
        (2, {}, [0, 2, 4, 6]),
        (4, {}, [0, 4]),
        pytest.param(
            1,
            {"steps_per_execution": 3},
            [0, 3, 6],
            marks=pytest.mark.skipif(
                keras.config.backend() == "torch", reason="PyTorch has it not"
            ),
        ),
        (1, {"accumulate": 2}, [0, 1, 2, 3]),
    ],
)
def test_when_it_logs(tmp_path, every, options, expected):
    model = build(**options)
    fit(model, LaurelLogger(tmp_path / "log.csv", every), epochs=2)
    assert steps(tmp_path / "log.csv") == expected


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """After two batches of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            raise Killed


@pytest.mark.parametrize(
    "every, accumulate, before, after",
    [(2, None, [0, 2, 4], [0, 2, 4, 6, 8]), (3, 2, [0, 1], [0, 1, 3, 4])],
)
def test_a_killed_run_leaves_the_log_of_one_that_was_not(
    tmp_path, every, accumulate, before, after
):
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    fit(build(accumulate=accumulate), LaurelLogger(whole, every), epochs=3)

    def go_on(*callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        logger = LaurelLogger(resumed, every)
        # The logger begins before the backup restores.
        model = build(accumulate=accumulate)
        fit(model, logger, backup, *callbacks, epochs=3)

    with pytest.raises(Killed):
        go_on(Kill())
    # It was at batch 5 and restores batch 3; the log was being written.
    assert steps(resumed) == before
    with resumed.open("a") as file:
        file.write("6,1,0,first,rw+lr+pa,0.99")
    go_on()
    assert steps(resumed) == after
    for row, wanted in zip(read(resumed), read(whole), strict=True):
        assert row.keys() == wanted.keys()
        for name in row:
            if name in ("layer", "variant") or not wanted[name]:
                assert row[name] == wanted[name]
            else:
                value = pytest.approx(float(wanted[name]), 1e-5, 1e-7)
                assert float(row[name]) == value


def test_further_training_goes_on_with_the_log(tmp_path):
    path = tmp_path / "log.csv"
    logger = LaurelLogger(path)
    model = fit(build(), logger, epochs=2)
    fit(model, logger, epochs=3, initial_epoch=2)
    assert steps(path) == [0, 3, 6, 9]
    assert [row["epoch"] for row in read(path)[::2]] == ["0", "0", "1", "2"]


def test_training_from_the_start_starts_the_log_anew(tmp_path):
    path = tmp_path / "log.csv"
    fit(build(), LaurelLogger(path), epochs=2)
    path.write_text(path.read_text().replace("gamma_1", "of_another_model"))
    fit(build(), LaurelLogger(path))
    assert steps(path) == [0, 3]
    assert "of_another_model" not in path.read_text()


@pytest.mark.parametrize(
    "text", ["date,revenue\n2026-01-01,5\n", "date,revenue", "\nnotes", "\xff"]
)
@pytest.mark.parametrize("start", ["anew", "resumed"])
def test_a_file_that_is_no_log_is_left_alone(tmp_path, text, start):
    path = tmp_path / "results.csv"
    path.write_bytes(text.encode("latin1"))
    model = build() if start == "anew" else fit(build())
    with pytest.raises(ValueError, match="results.csv', which begins with '"):
        fit(model, LaurelLogger(path))
    assert path.read_bytes() == text.encode("latin1")
    assert list(tmp_path.iterdir()) == [path]


def test_goes_on_with_an_empty_file(tmp_path):
    path = tmp_path / "log.csv"
    path.touch()
    fit(fit(build()), LaurelLogger(path))
    assert steps(path) == [3, 6]


def test_refuses_to_go_on_with_the_log_of_another_model(tmp_path):
    path = tmp_path / "log.csv"
    model = fit(build(), LaurelLogger(path))
    before = path.read_text()
    with pytest.raises(ValueError, match="has the columns .* or without `in"):
        fit(model, LaurelLogger(path, inputs=data()[0][:1]))
    assert path.read_text() == before


def test_only_the_writer_writes(tmp_path):
    path, folder = tmp_path / "log.csv", tmp_path / "events"
    logger = LaurelLogger(path, tensorboard=folder, is_writer=False)
    fit(build(), logger)
    assert not list(tmp_path.iterdir())


def test_scalars_for_tensorboard(tmp_path):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    path, folder = tmp_path / "log.csv", tmp_path / "events"
    fit(build(), LaurelLogger(path, tensorboard=folder), epochs=2)
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    rows = read(path)
    assert len(events.Tags()["tensors"]) == sum(
        value != "" for row in rows[:2] for value in list(row.values())[5:]
    )
    for name in ("alpha", "gamma_1", "norm_0"):
        expected = [
            (int(row["step"]), pytest.approx(float(row[name])))
            for row in rows
            if row["layer"] == "second"
        ]
        found = [
            (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
            for event in events.Tensors(f"laurel_{name}/second")
        ]
        assert found == expected


def test_tensorboard_without_tensorflow(tmp_path, monkeypatch):
    model = build()
    fit(model)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    logger = LaurelLogger(tensorboard=tmp_path)
    logger.set_model(model)
    logger.on_train_begin()
    with pytest.raises(ValueError, match="needs TensorFlow to be written"):
        logger.on_epoch_begin(0)


def test_every_may_be_a_number_of_numpy(tmp_path):
    path = tmp_path / "log.csv"
    fit(build(), LaurelLogger(path, every=np.int64(2)))
    assert steps(path) == [0, 2]


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "neither `path` nor `tensorboard`"),
        ({"path": "log.csv", "every": "batch"}, "Received: every='batch'"),
        ({"path": "log.csv", "every": 0}, "be 'epoch', or .* every=0"),
        ({"path": "log.csv", "every": True}, "Received: every=True"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        LaurelLogger(**options)


def test_a_model_without_laurel_layers(tmp_path):
    model = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(WIDTH)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="which has no LAuReL layer"):
        fit(model, LaurelLogger(tmp_path / "log.csv"))
