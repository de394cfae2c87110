"""A process of its own that loads what another has saved.

Run as a program it knows nothing but what is imported: that is the point.
"""

import importlib
import json
import pathlib
import subprocess
import sys

from tests.conversion.hub import rows

ROOT = pathlib.Path(__file__).parents[3]


class FreshProcess:
    """Loads one folder after another in a process that saved none.

    Args:
        imports: Names of the modules it imports, in that order.
        log: Path of the file for what it prints besides.
    """

    def __init__(self, imports, log):
        self.log = log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, *imports],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )

    def load(self, folder, family):
        """By the way of saving, what loading gives: see `report`."""
        slow = family.slow
        task = family.task_class
        if "task_preset" not in family.lacks and task:
            task = family.task_kind
        request = [str(folder), task, slow, family.preset_options]
        print(json.dumps(request), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("LOADED "):
                return json.loads(line.removeprefix("LOADED "))
        raise AssertionError(pathlib.Path(self.log).read_text()[-3000:])

    def close(self):
        self.process.communicate()


def serve():
    for line in sys.stdin:
        folder, *how = json.loads(line)
        found = load(pathlib.Path(folder), *how)
        print("LOADED", json.dumps(found), flush=True)


def load(folder, task, slow, preset_options):
    """Everything in `folder`, each way on its own."""
    ways = {
        "keras": lambda: load_keras(folder),
        "weights": lambda: load_weights(folder),
        "preset": lambda: load_preset(folder, task, **preset_options),
        "backbone_preset": lambda: load_preset(folder, "Backbone"),
    }
    if not (folder / "preset").exists():
        ways = {"keras": ways["keras"]}
    elif not task:
        del ways["preset"]
    found = {}
    for way, model in ways.items():
        try:
            found[way] = report(folder, model(), slow)
        except Exception as error:
            found[way] = repr(error)
    return found


def load_keras(folder):
    import keras

    return keras.saving.load_model(folder / "model.keras")


def load_weights(folder):
    import keras
    import numpy as np

    model = load_keras(folder)
    for variable in model.weights:
        zeros = np.zeros(variable.shape)
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(zeros)
    model.load_weights(folder / "model.weights.h5")
    return model


def load_preset(folder, name, **options):
    import keras_hub

    cls = getattr(keras_hub.models, name)
    return cls.from_preset(str(folder / "preset"), **options)


def report(folder, model, slow):
    """The class, the number of LAuReL layers, how far the output is off."""
    import numpy as np

    import keras_laurel
    from tests.conversion.models import outputs

    kind = "backbone" if getattr(model, "backbone", None) is None else "model"
    x = dict(np.load(folder / "inputs.npz"))
    x = x.get("inputs", x)
    expected = np.load(folder / f"{kind}.npy")
    if slow:
        with rows.short_chunks():
            actual = outputs(model, x)[0]
    else:
        actual = outputs(model, x)[0]
    return [
        type(model).__name__,
        len(keras_laurel.laurel_layers(model)),
        float(np.abs(actual - expected).max()),
    ]


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    serve()
