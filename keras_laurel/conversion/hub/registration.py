"""Let Keras and KerasHub find converted classes in a fresh process.

The converted classes are subclasses of KerasHub's. To avoid importing
KerasHub, a placeholder is registered under each name. Once KerasHub is
imported, by any code, the classes replace the placeholders: KerasHub's
`from_preset` looks for subclasses among the registered classes, where it would
not find placeholders.

To register a class only when a model is converted, or loaded, is not enough: a
fresh process has converted nothing, and `from_preset` searches the registered
classes before it calls any of them. So it must be done by then in each process,
in whichever order the two packages are imported. This is the purpose of the
import hook.
"""

import importlib
import importlib.abc
import importlib.util
import sys

import keras

from keras_laurel.conversion.hub import adopt
from keras_laurel.conversion.hub.families import FAMILIES


def register():
    """Register the converted classes of all families, now or later."""
    if "keras_hub" in sys.modules:
        _register_classes()
        return
    for name in _class_names():
        registered = f"keras_laurel>{adopt.laurel_name(name)}"
        keras.saving.get_custom_objects()[registered] = _Placeholder(name)
    sys.meta_path.insert(0, _AfterImport())


def _class_names():
    for backbone, family in FAMILIES.items():
        yield backbone
        prefix = backbone.removesuffix("Backbone")
        yield from (prefix + task for task in family.tasks)


def _register_classes():
    for name in _class_names():
        # An older KerasHub lacks some of the families.
        if hasattr(sys.modules["keras_hub"].models, name):
            _converted_class(name)


def _converted_class(name):
    return adopt.name_class(getattr(sys.modules["keras_hub"].models, name))


class _Placeholder:
    """Placeholder of a converted class until a model of it is loaded."""

    def __init__(self, base_name):
        self.base_name = base_name

    def from_config(self, config):
        importlib.import_module("keras_hub")
        return _converted_class(self.base_name).from_config(config)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Import hook that calls `_register_classes` after KerasHub's import."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras_hub":
            return None
        # Otherwise `importlib.util.find_spec` would call this finder again.
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader, finder):
        self._loader = loader
        self._finder = finder

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        # The module shows its own loader, as if it had been imported without
        # this hook.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        # Only now, so that an import that fails may be tried again.
        sys.meta_path.remove(self._finder)
        _register_classes()
