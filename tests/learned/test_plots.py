"""The numbers in the pictures."""

import sys

import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import keras_laurel
from keras_laurel.learned.plots import residual_weights
from tests.backends import once

pytestmark = once

LOG = """\
step,epoch,connection,layer,variant,alpha,alpha_min,alpha_max,gamma_0,\
gamma_1,norm_0,share
0,0,0,a,rw,1.0,0.9,1.1,1.0,,0.0,0.0
0,0,1,b,rw,1.0,0.8,1.2,1.0,1.0,0.0,0.0
0,0,2,c,pa,,,,1.0,1.0,0.0,0.0
50,0,0,a,rw,1.3,1.2,1.4,0.9,,0.1,0.05
50,0,1,b,rw,0.7,0.6,0.8,0.8,0.7,0.2,0.025
50,0,2,c,pa,,,,0.6,0.5,0.3,0.0125
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def panels(figure):
    """The axes by row: those of a quantity."""
    columns = figure.axes[0].get_gridspec().ncols
    return [
        figure.axes[i : i + columns]
        for i in range(0, len(figure.axes), columns)
    ]


def points(axes):
    (found,) = [x for x in axes.collections if isinstance(x, PathCollection)]
    return found


def ranges(axes):
    lines = [x for x in axes.collections if isinstance(x, LineCollection)]
    return [line.get_segments()[0] for line in lines]


def courses(axes):
    """The lines but for the dashed one."""
    return [line for line in axes.lines if line.get_linestyle() == "-"]


def test_a_log_is_drawn_by_depth_and_over_time(log):
    figure = residual_weights(log)
    assert isinstance(figure, Figure) and figure.get_figwidth() == 3.3
    drawn = panels(figure)
    labels = [left.get_ylabel() for left, _ in drawn]
    assert labels == [
        r"$\alpha$",
        r"$\gamma_0$",
        r"$\gamma_1$",
        "norm",
        "share (%)",
    ]
    last = {
        0: [(0, 1.3), (1, 0.7)],
        1: [(0, 0.9), (1, 0.8), (2, 0.6)],
        2: [(1, 0.7), (2, 0.5)],
        3: [(0, 0.1), (1, 0.2), (2, 0.3)],
        4: [(0, 5.0), (1, 2.5), (2, 1.25)],
    }
    for i, expected in last.items():
        left, right = drawn[i]
        np.testing.assert_allclose(points(left).get_offsets(), expected)
        ends = [line.get_ydata()[-1] for line in courses(right)]
        np.testing.assert_allclose(ends, [y for _, y in expected])
        for line in courses(right):
            assert list(line.get_xdata()) == [0, 50]
    assert [left.get_xlabel() for left, _ in drawn][3:] == ["", "connection"]


def test_a_connection_has_one_color(log):
    for left, right in panels(residual_weights(log)):
        colors = [to_hex(line.get_color()) for line in courses(right)]
        assert colors == [to_hex(c) for c in points(left).get_facecolors()]
        assert len(set(colors)) == len(colors)


def test_weights_per_channel_have_their_range(log):
    ((left, right),) = panels(residual_weights(log, quantities=["alpha"]))
    expected = [[[0, 1.2], [0, 1.4]], [[1, 0.6], [1, 0.8]]]
    np.testing.assert_allclose(ranges(left), expected)
    low, high = left.get_ylim()
    assert low < 0.6 and high > 1.4
    assert right.get_ylim() == (low, high)


def test_quantities_of_a_kind_have_one_scale(log):
    alpha, gamma_0, gamma_1, norm, share = panels(residual_weights(log))
    assert gamma_0[0].get_ylim() == gamma_1[0].get_ylim()
    assert norm[0].get_ylim()[0] == share[0].get_ylim()[0] == 0


def test_a_run_that_diverged_is_drawn(log):
    log.write_text(log.read_text().replace("0.7,0.6,0.8", "nan,nan,nan"))
    ((left, _),) = panels(residual_weights(log, quantities=["alpha"]))
    low, high = left.get_ylim()
    assert low < 0.8 and high > 1.4


@pytest.mark.parametrize(
    "cut_off",
    [
        "9",
        "90,0,0,a,rw,2,2,2,1,,0,0.8",
        "90,0,0,a,rw,,,,,,,\n",
    ],
)
def test_the_log_of_a_killed_run_is_drawn_to_its_last_whole_step(log, cut_off):
    log.write_text(LOG + cut_off)
    for axes, expected in zip(
        panels(residual_weights(log)),
        ([1.3, 0.7], [0.9, 0.8, 0.6]),
    ):
        drawn = points(axes[0]).get_offsets()[:, 1]
        np.testing.assert_allclose(drawn, expected)
        assert all(list(x.get_xdata()) == [0, 50] for x in courses(axes[1]))


def test_quantities_are_drawn_as_asked_for(log):
    figure = residual_weights(log, quantities=["share", "gamma_1"])
    labels = [left.get_ylabel() for left, _ in panels(figure)]
    assert labels == ["share (%)", r"$\gamma_1$"]


def test_a_model_is_drawn_by_depth():
    x = inputs = keras.Input((8,))
    for _ in range(4):
        x = keras_laurel.get("rw+lr", rank=2)([x, keras.layers.Dense(8)(x)])
    model = keras.Model(inputs, x)
    generator = np.random.default_rng(0)
    for layer in keras_laurel.laurel_layers(model):
        layer.set_weights(
            [generator.normal(size=w.shape) for w in layer.weights]
        )
    batch = generator.normal(size=(2, 8)).astype("float32")
    summary = keras_laurel.learned.laurel_summary(model, batch)
    connections = summary.connections
    expected = [
        [row.alpha for row in connections],
        [row.beta for row in connections],
        [row.norm[0] for row in connections],
        [100 * row.share for row in connections],
    ]
    for figure in residual_weights(model, batch), residual_weights(summary):
        values = [points(x).get_offsets()[:, 1] for (x,) in panels(figure)]
        np.testing.assert_allclose(values, expected)


def test_text_neither_overlaps_nor_is_cut_off(log):
    figure = residual_weights(log)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [
        text.get_window_extent(renderer)
        for axes in figure.axes
        for text in texts(axes)
        if text.get_visible() and text.get_text()
    ]
    assert len(boxes) > 20
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


def texts(axes):
    """Its labels, without those of ticks outside of its limits."""
    yield from (axes.xaxis.label, axes.yaxis.label)
    for axis, limits in (
        (axes.xaxis, axes.viewLim.intervalx),
        (axes.yaxis, axes.viewLim.intervaly),
    ):
        for tick in axis.get_major_ticks():
            if limits[0] <= tick.get_loc() <= limits[1]:
                yield tick.label1


class TestRefuses:
    def test_unknown_quantities(self, log):
        with pytest.raises(ValueError, match="some of .'alph.*'delta'"):
            residual_weights(log, quantities=["delta"])

    def test_no_quantities(self, log):
        with pytest.raises(ValueError, match=r"Received: quantities=\[\]"):
            residual_weights(log, quantities=[])

    def test_a_file_that_is_no_log(self, tmp_path):
        path = tmp_path / "other.csv"
        path.write_text("epoch,loss\n0,1.5\n")
        with pytest.raises(ValueError, match="which has no rows of a logger"):
            residual_weights(path)

    def test_what_is_no_file(self, tmp_path):
        picture = tmp_path / "log.png"
        picture.write_bytes(b"\x89PNG")
        for path in (tmp_path, tmp_path / "missing.csv", picture):
            with pytest.raises(ValueError, match="which cannot be read.*Give"):
                residual_weights(path)

    def test_what_is_neither_a_model_nor_a_path(self, log):
        with pytest.raises(ValueError, match="Give the `path` of a `LaurelLo"):
            residual_weights(keras_laurel.learned.LaurelLogger(log))

    def test_a_model_without_laurel_layers(self):
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        with pytest.raises(ValueError, match="has no LAuReL layer"):
            residual_weights(model)

    def test_to_draw_without_matplotlib(self, log, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ValueError, match="draws with matplotlib"):
            residual_weights(log)
