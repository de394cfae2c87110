"""Each row of the table, converted once, with what was true before."""

import functools

import keras
import numpy as np

import keras_laurel
from keras_laurel.conversion import keras_internals
from tests.conversion.inside import own_models
from tests.conversion.inside.running import State
from tests.conversion.inside.running import built
from tests.conversion.inside.running import perturb
from tests.conversion.inside.running import run
from tests.conversion.inside.running import variables

# (batch, length, training)
SIGNATURES = ((2, 6, False), (2, 6, True), (3, 5, False))


class Conversion:
    """A plain model that was run, and the converted model.

    Attributes:
        sites: The `ResidualSite`s that were converted.
        before: For each signature `(outputs, State afterwards)`.
        state: `State` of the plain variables, from which each run starts.
    """

    def __init__(self, name, row):
        self.name, self.row = name, row
        model = built(row)
        perturb(model)
        self.plain_class = type(model)
        self.state = State(variables(model))
        self.paths = [v.path for v in self.state.variables]
        self.sublayers = sublayers(model)
        self.before = {}
        for signature in self.signatures():
            self.before[signature] = self.run(model, *signature)
        self.state.restore()
        self.sites = []
        self.model = convert(model, row, self.noting_sites)
        self.layers = keras_laurel.laurel_layers(self.model)
        self.start = State([w for x in self.layers for w in x.weights])

    def signatures(self):
        if self.row.any_length:
            return SIGNATURES
        return [(batch, 6, training) for batch, _, training in SIGNATURES]

    def run(self, model, batch, length, training):
        self.state.restore()
        x = self.row.example(batch, length)
        outputs = run(model, x, training=training)
        return outputs, State(self.state.variables).values

    def noting_sites(self, site):
        self.sites.append(site)
        return widest(self.row)

    def restart(self):
        self.state.restore()
        self.start.restore()


@functools.cache
def conversion(name):
    return Conversion(name, own_models.TABLE[name])


def widest(row):
    variant = "rw+lr+pa" if row.history else "rw+lr"
    return keras_laurel.get(variant, rank=2)


def convert(model, row, layer=None):
    return keras_laurel.laurelize(
        model, layer or widest(row), inputs=row.example(), verbose=False
    )


def shake(layers, seed=0):
    """Sets LAuReL weights, to the same numbers for the same connection."""
    rng = np.random.default_rng(seed)
    for layer in layers:
        for weight in layer.weights:
            weight.assign(rng.normal(scale=0.5, size=weight.shape))


def sublayers(model):
    """Class names of all layers inside, by identity; graphs are rebuilt."""
    return {
        id(layer): type(layer).__name__
        for layer in model._flatten_layers(include_self=False)
        if not keras_internals.is_functional(layer)
        and not isinstance(layer, (keras.layers.Add, keras.layers.InputLayer))
    }
