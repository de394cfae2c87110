import threading

import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel.conversion.blocks.stream import ResidualStream

D, R = 8, 2


def stream(variant, connections=4, **options):
    """A stream of built layers with weights that tell each other apart."""
    rng = np.random.default_rng(0)
    layers = []
    for n in range(connections):
        if "lr" in variant:
            options["rank"] = R
        layer = keras_laurel.get(variant, **options)
        activations = min(layer.num_activations or 1, n + 1)
        layer.build([(None, D)] * (1 + activations))
        layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
        layers.append(layer)
    return ResidualStream(layers)


def skips(connections=4, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.normal(size=(connections, 3, D)).astype("float32"))


def run(stream, xs):
    return [stream.enter(n, x) for n, x in enumerate(xs)]


def assert_carried(carried, expected):
    for actual, e in zip(carried, expected, strict=True):
        if e is None:
            assert actual is None
            continue
        for one, other in zip(actual, e, strict=True):
            np.testing.assert_allclose(
                *map(ops.convert_to_numpy, (one, other)), rtol=1e-5, atol=1e-6
            )


def newest_first(xs, n, k):
    return xs[: n + 1][::-1][:k]


def codes(stream, xs, k):
    """`A_j x_{n-j}` with the A of the connection that reads it."""
    return [
        [
            x @ ops.convert_to_numpy(stream.layers[n].down_projection(j))
            for j, x in enumerate(newest_first(xs, n, k))
        ]
        for n in range(len(xs))
    ]


def test_activations_newest_first():
    xs = skips()
    expected = [newest_first(xs, n, 3) for n in range(4)]
    assert_carried(run(stream("pa"), xs), expected)


@pytest.mark.parametrize("shared", [False, True])
def test_codes_by_the_reader(shared):
    s = stream("rw+lr+pa", share_low_rank=shared)
    xs = skips()
    assert_carried(run(s, xs), codes(s, xs, 3))


def test_a_low_rank_map_reads_its_own_skip():
    s = stream("lr")
    xs = skips()
    assert_carried(run(s, xs), codes(s, xs, 1))


def test_residual_weights_read_nothing():
    assert_carried(run(stream("rw"), skips()), [None] * 4)


@pytest.mark.parametrize("variant", ["rw", "lr", "rw+lr"])
def test_without_history_any_order_will_do(variant):
    s = stream(variant)
    xs = skips()
    in_order = run(s, xs)
    assert not s.carries_history
    for n in (3, 1, 1, 0):
        assert_carried([s.enter(n, xs[n])], [in_order[n]])


def test_passes_do_not_mix():
    s = stream("pa")
    run(s, skips())
    assert_carried(run(s, skips(seed=1)), run(stream("pa"), skips(seed=1)))


@pytest.mark.parametrize(
    ("before", "n", "expected"),
    [([], 1, 0), ([0], 2, 1), ([0, 1], 1, 2), ([0, 1, 2, 3], 2, 4)],
)
def test_out_of_turn(before, n, expected):
    s = stream("pa")
    x = skips()[0]
    for m in before:
        s.enter(m, x)
    message = f"connection {n} ran where {expected} was expected"
    with pytest.raises(ValueError, match=message):
        s.enter(n, x)


def test_a_broken_pass_does_not_poison_the_next():
    s = stream("rw+lr+pa")
    xs = skips()
    expected = run(s, xs)
    run(s, skips(seed=1)[:2])  # As if the third block had raised.
    assert_carried(run(s, xs), expected)
    with pytest.raises(ValueError, match="out|ran where"):
        s.enter(2, xs[0])
    assert_carried(run(s, xs), expected)


def test_nothing_is_held_after_a_pass():
    s = stream("pa")
    run(s, skips())
    assert s._pass.waiting == {}


def test_threads_have_passes_of_their_own():
    s = stream("rw+lr+pa")
    turn = threading.Barrier(2, timeout=60)
    results = {}

    def work(seed):
        carried = []
        for n, x in enumerate(skips(seed=seed)):
            turn.wait()
            carried.append(s.enter(n, x))
        results[seed] = carried

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        assert_carried(results[seed], codes(s, skips(seed=seed), 3))


def test_suspended_within_a_thread():
    s = stream("pa")
    seen = []
    with s.suspended():
        assert s.is_suspended
        with s.suspended():
            pass
        assert s.is_suspended
        thread = threading.Thread(target=lambda: seen.append(s.is_suspended))
        thread.start()
        thread.join()
    assert not s.is_suspended
    assert seen == [False]
    with pytest.raises(KeyError), s.suspended():
        raise KeyError
    assert not s.is_suspended
