"""LAuReL and AltUp go together: the recipe of `examples/altup.py`."""

import keras
import numpy as np

import altup
import keras_laurel
from tests.conversion.hub import checks

SIZES = {"vocabulary_size": 64, "num_layers": 4, "hidden_dim": 32}


def test_altup(tmp_path):
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 64, (2, 8)).astype("int32")
    x = {"token_ids": tokens, "padding_mask": np.ones((2, 8), "int32")}
    layer = keras_laurel.get("rw+lr+pa", rank=4)
    tasks = []
    for each in (None, layer):
        keras.utils.set_random_seed(0)
        tasks.append(altup.make_task(each, **SIZES, num_heads=4))
    plain, task = tasks
    # Where the streams meet and part is no longer where they started.
    for model in tasks:
        for i, block in enumerate(model.backbone.transformer_layers):
            block.prediction.assign([[1, 0.1 * i], [0.2, 0.9]])
            block.correction.assign([0.8, 1.1])
    expected = checks.logits(plain, x)
    np.testing.assert_array_equal(checks.logits(task, x), expected)

    before = checks.values(checks.laurel_weights(task))
    first, *_, last = checks.train(
        task, x, steps=5, optimizer=keras.optimizers.Adam(0.01)
    )
    assert last < first
    for old, new in zip(before, checks.values(checks.laurel_weights(task))):
        assert (old != new).any()

    task.compile(sampler="greedy")
    known = np.arange(8)[None].repeat(2, 0) < 3
    prompt = {"token_ids": tokens, "padding_mask": known}
    np.testing.assert_array_equal(
        checks.generated(task, prompt),
        checks.greedy_by_recomputation(task, prompt),
    )

    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras", compile=False)
    assert len(keras_laurel.laurel_layers(loaded)) == 4
    expected = checks.logits(task, x)
    np.testing.assert_array_equal(checks.logits(loaded, x), expected)
