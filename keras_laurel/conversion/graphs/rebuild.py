"""Rebuild functional models with a LAuReL layer at chosen additions."""

import inspect

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs import saved_plan
from keras_laurel.conversion.graphs.plan import Replacement
from keras_laurel.conversion.graphs.plan import by_node
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.pickling import PickledAsSaved


def rebuild(model, replacements):
    """Return a model like `model` in which some calls are replaced.

    Layers are shared with `model`, and every call is made again on fresh
    inputs. A model nested in it, or held as an attribute, is rebuilt if it
    holds one of the replaced calls. From then on, `layer.output` of a shared
    layer is its tensor in the new model. If a call raises, nothing has
    changed.

    Args:
        model: A functional or sequential model.
        replacements: List of `Replacement`, LAuReL layers for additions, or
            of `Removal`, additions for LAuReL layers.
    """
    with keras_internals.new_calls_first(model) as calls:
        return _Rebuilding(replacements, calls).layer(model)


class _Rebuilding:
    """One pass over a model and all models inside it."""

    def __init__(self, replacements, calls):
        self._replacements = by_node(replacements)
        self._calls = calls
        self._rebuilt = {}

    def layer(self, layer):
        """Return `layer`, or its rebuilt copy if it holds a replaced call."""
        if not self._held(layer):
            return layer
        # A model that is called several times stays one model.
        if id(layer) not in self._rebuilt:
            rebuild_one = (
                self._sequential
                if keras_internals.is_sequential(layer)
                else self._functional
            )
            self._rebuilt[id(layer)] = rebuild_one(layer)
        return self._rebuilt[id(layer)]

    def _held(self, layer):
        return [
            self._replacements[node]
            for model in functional_models(layer)
            for node in keras_internals.nodes(model)
            if node in self._replacements
        ]

    def _sequential(self, model):
        inputs = [keras_internals.fresh_input(t) for t in model.inputs]
        layers = [self.layer(layer) for layer in model.layers]
        return self._assemble(model, [inputs + layers], {})

    def _functional(self, model):
        tensors = {id(t): keras_internals.fresh_input(t) for t in model.inputs}
        for node in keras_internals.nodes(model):
            if not node.is_input:
                outputs = keras.tree.flatten(self._call(node, tensors))
                tensors |= dict(zip(map(id, node.outputs), outputs))
        graph = [_mapped(x, tensors) for x in (model.input, model.output)]
        result = self._assemble(model, graph, tensors)
        self._rename_levels(model, result)
        return result

    def _call(self, node, tensors):
        def again():
            return self._call_again(node, tensors)

        replacement = self._replacements.get(node)
        return replacement.call(tensors, again) if replacement else again()

    def _call_again(self, node, tensors):
        operation = self.layer(node.operation)
        outputs = keras_internals.call_again(node, operation, tensors)
        self._calls.note(node, operation)
        return outputs

    def _rename_levels(self, model, result):
        """Rename additions in the `pyramid_level_inputs` of a backbone.

        KerasCV's detectors look these layers up by name, so a replaced
        addition needs the name of its LAuReL layer.
        """
        levels = getattr(model, "pyramid_level_inputs", None)
        if not isinstance(levels, dict):
            return
        renamed = {
            r.node.operation.name: r.layer.name
            for r in self._replacements.values()
        }
        result.pyramid_level_inputs = {
            level: renamed.get(name, name) for level, name in levels.items()
        }

    def _assemble(self, model, graph, tensors):
        left = self._not_in_config(model)
        # A model whose connections are removed gets back the class that it had
        # before conversion.
        cls = getattr(type(model), "_laurel_base", type(model))
        cls = laurel_class(cls) if left else cls
        # Its constructor would build the plain graph again.
        result = cls.__new__(cls)
        keras_internals.initialize(result, *graph, name=model.name)
        self._carry_attributes(model, result, tensors)
        if left:
            # The indices are those of the plain graph, which `from_config`
            # builds before it applies the plan.
            result._laurel_plan = saved_plan.serialize(left, model)
        return result

    def _not_in_config(self, model):
        """Return the replacements that the config of `model` does not have.

        They would be lost on loading. If a constructor argument is a model,
        its own config has those inside it.
        """
        if keras_internals.config_has_graph(model):
            return []
        arguments = inspect.signature(type(model).__init__).parameters
        values = [getattr(model, name, None) for name in arguments]
        kept = {
            replacement.node
            for value in values
            if isinstance(value, keras.Model)
            for replacement in self._held(value)
        }
        return [
            r
            for r in self._held(model)
            if isinstance(r, Replacement) and r.node not in kept
        ]

    def _carry_attributes(self, model, result, tensors):
        for name, value in keras_internals.own_attributes(model).items():
            if name != "_laurel_plan":
                setattr(result, name, self._carried(value, tensors))
        keras_internals.copy_layer_settings(model, result)
        if hasattr(model, "_functional_layer_ids"):
            # KerasCV and KerasHub leave these layers out when they save
            # weights, so the list must name the layers of the new model.
            result._functional_layer_ids = {
                id(layer) for layer in keras_internals.flatten_layers(result)
            } | {id(result)}

    def _carried(self, value, tensors):
        if isinstance(value, keras.KerasTensor):
            return tensors.get(id(value), value)
        if isinstance(value, keras.Model):
            return self.layer(value)
        if isinstance(value, dict):
            return {k: self._carried(v, tensors) for k, v in value.items()}
        if isinstance(value, list):
            return [self._carried(v, tensors) for v in value]
        # A named tuple, whose constructor takes no list, stays as it is.
        if type(value) is tuple:
            return tuple(self._carried(v, tensors) for v in value)
        return value


def _mapped(structure, tensors):
    return keras.tree.map_structure(lambda t: tensors[id(t)], structure)


class LaurelFunctional(PickledAsSaved):
    """Mixin for converted models whose constructor does not know LAuReL.

    These are models of classes of KerasCV, KerasHub or your own. The config
    is the config before conversion, and the list of the replacements.
    """

    def get_config(self):
        base = type(self)._laurel_base
        source = {
            "module": base.__module__,
            "class_name": base.__name__,
            "config": base.get_config(self),
            "registered_name": keras.saving.get_registered_name(base),
        }
        return {"source": source, "sites": self._laurel_plan}

    @classmethod
    def from_config(cls, config):
        source = keras.saving.deserialize_keras_object(config["source"])
        return rebuild(source, saved_plan.deserialize(config["sites"], source))


_CLASSES: dict[type, type] = {}
_register = keras.saving.register_keras_serializable(
    package="keras_laurel", name="LaurelFunctional"
)
_register(LaurelFunctional)


def laurel_class(base):
    """Return the subclass of `base` that saves the replacements.

    All these classes share one registered name, which keeps naming
    `LaurelFunctional`, so that a fresh process can load a model before it has
    made the subclass.
    """
    if base not in _CLASSES:
        name = f"Laurel{base.__name__}"
        cls = type(name, (LaurelFunctional, base), {"_laurel_base": base})
        _CLASSES[base] = _register(cls)
        _register(LaurelFunctional)
    return _CLASSES[base]
