"""The figures as a table, a dict and a file."""

import csv
import json

import keras
import pytest

import keras_laurel
from keras_laurel.costs import footprint


def model_of(layers, size=64, name="small"):
    x = keras.Input((8, size))
    y, previous = x, []
    for _ in range(layers):
        fx = keras.layers.Dense(size)(y)
        layer = keras_laurel.get("rw+lr+pa", rank=4)
        y, previous = layer([y, fx, *previous[:2]]), [y, *previous]
    return keras.Model(x, y, name=name)


def plain(size=64):
    x = keras.Input((8, size))
    return keras.Model(x, keras.layers.Dense(size)(x), name="plain")


@pytest.fixture(scope="module")
def cost():
    return footprint(model_of(5), plain(), batch_size=2)


def test_the_table(cost):
    """A row for the first two connections, and one for those like the third."""
    lines = str(cost).splitlines()
    assert lines[0] == "small: batch size 2, against plain"
    parameters = next(x.split() for x in lines if x.startswith("parameters"))
    assert parameters == [
        "parameters",
        f"{cost.parameters:,}",
        f"{cost.laurel_parameters:,}",
        f"{cost.parameters - 4160:,}",
        f"+{100 * (cost.parameters - 4160) / 4160:.3f}",
        "%",
    ]
    counts = [line.split()[0] for line in lines if " x rw+lr+pa " in line]
    assert counts == ["1", "1", "3"]


def test_a_large_table_fits_a_terminal():
    with keras.StatelessScope(initialize_variables=False):
        model = model_of(20, 32_768, "a_model")
    keras.utils.clear_session()
    lines = str(footprint(model, batch_size=8192)).splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if line.startswith("18 x rw+lr+pa")]
    assert row.split()[3:] == [
        *("32768", "4", "3", "65,536", "786,437"),
        *("111.67", "G"),
        *("8.00", "GiB"),  # 3 r codes a position, and f(x).
    ]


def test_what_is_added_without_a_baseline():
    """The cost of LAuReL is compared with that of the rest."""
    cost = footprint(model_of(1))
    number, percent = cost.added("parameters")
    assert number == cost.laurel_parameters == 2 * 4 * 64 + 2 + 1
    assert percent == pytest.approx(100 * number / (64 * 64 + 64))


def test_what_a_plain_model_adds():
    assert footprint(plain()).added("parameters") == (0, 0.0)


@pytest.mark.parametrize("quantity", ["foo", "activation_bytes", None])
def test_what_is_no_quantity_is_refused(cost, quantity):
    with pytest.raises(ValueError, match="`quantity` must be one of .'param"):
        cost.added(quantity)


def test_the_dict_is_json_and_complete(cost):
    figures = json.loads(json.dumps(cost.to_dict()))
    assert figures["parameters"] == cost.parameters
    assert figures["laurel_training_flops"] == cost.laurel_training_flops
    assert figures["added_forward_flops"] == cost.added("forward_flops")[0]
    assert figures["activation_bytes"] == cost.activation_bytes
    assert figures["history_bytes"] == cost.history_bytes
    assert figures["baseline"]["parameters"] == 4160
    assert len(figures["connections"]) == 5
    assert figures["connections"][2]["activations"] == 3


def test_the_file_has_a_row_for_each_connection_and_a_total(cost, tmp_path):
    cost.to_csv(tmp_path / "footprint.csv")
    with open(tmp_path / "footprint.csv", newline="") as file:
        *rows, total = csv.DictReader(file)
    assert [int(row["activations"]) for row in rows] == [1, 2, 3, 3, 3]
    assert (total["layer"], total["width"]) == ("total", "")
    for name in ("parameters", "forward_flops", "activation_bytes"):
        assert int(total[name]) == sum(int(row[name]) for row in rows)
    assert int(total["activation_bytes"]) == cost.activation_bytes
    # Later connections hold the same activations as earlier ones.
    assert int(total["history_bytes"]) == 2 * 8 * 2 * 64 * 4
