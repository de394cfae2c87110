"""TensorFlow's TPUStrategy, and the steps before it."""

import importlib
import types

import keras
import pytest

from experiments.devices import find_devices
from experiments.options import Machine

if keras.backend.backend() != "tensorflow":
    pytest.skip("is about TensorFlow", allow_module_level=True)

import tensorflow as tf

resolvers = importlib.import_module(
    tf.distribute.cluster_resolver.TPUClusterResolver.__module__
)


@pytest.fixture
def steps(monkeypatch):
    """The steps done to a TPU, with the real resolver.

    TensorFlow's `connect` makes it, and these are the ends it leaves the
    machine by.
    """
    steps = []

    class Strategy:
        num_replicas_in_sync = 8

        def __init__(self, tpu):
            steps.append(("strategy", tpu))

        def scope(self):
            return "scope"

    patch = monkeypatch.setattr
    patch(
        resolvers.remote,
        "connect_to_cluster",
        lambda tpu: steps.append(("connect", tpu)),
    )
    patch(
        resolvers.tpu_strategy_util,
        "initialize_tpu_system_impl",
        lambda tpu, _: steps.append(("initialise", tpu)),
    )
    patch(tf.distribute, "TPUStrategy", Strategy)
    patch(
        tf.config.experimental,
        "enable_op_determinism",
        lambda: steps.append(("determinism", None)),
    )
    monkeypatch.delenv("TPU_NAME", raising=False)
    return steps


def devices_once(steps):
    """TensorFlow sees no core of a TPU that is not initialised."""

    def list_logical_devices(kind):
        is_there = kind == "TPU" and "initialise" in dict(steps)
        return [types.SimpleNamespace(device_type=kind)] * 8 * is_there

    return list_logical_devices


@pytest.mark.parametrize(
    "name, physical, master",
    [
        ("local", [], ""),
        ("grpc://10.0.0.2:8470", [], "grpc://10.0.0.2:8470"),
        (None, ["TPU:0"], ""),
    ],
)
def test_a_tpu_is_connected_and_initialised_before_its_strategy(
    name, physical, master, steps, monkeypatch
):
    if name is not None:
        monkeypatch.setenv("TPU_NAME", name)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: physical)
    monkeypatch.setattr(tf.config, "list_logical_devices", devices_once(steps))
    found = find_devices(Machine())
    names, tpus = zip(*steps)
    assert names == ("connect", "initialise", "strategy")
    assert len(set(map(id, tpus))) == 1 and tpus[0].master() == master
    assert (str(found), found.scope()) == ("8 x TPU", "scope")


def test_without_a_tpu_there_is_no_tpu_strategy(steps):
    found = find_devices(Machine())
    assert [name for name, _ in steps] == ["determinism"]
    assert (str(found), found.distribution) == ("CPU", None)
