"""Export a model in each format, load the artefact, and run it."""

import dataclasses
import importlib.util
from typing import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of `model.export`.

    Attributes:
        run: Function of a model, its example and a path, which returns the
            flat list of what the artefact computes.
        packages: Modules that it needs on each backend.
    """

    run: Callable
    packages: dict

    def missing(self):
        names = self.packages.get(keras.config.backend(), ())
        return [x for x in names if importlib.util.find_spec(x) is None]


def _export(model, kind, path, x):
    """JAX and PyTorch need sizes that are known for some of these models."""
    options = {}
    if keras.config.backend() != "tensorflow":
        options["input_signature"] = [
            keras.tree.map_structure(_spec, model.input, x)
        ]
    model.export(str(path), format=kind, verbose=False, **options)


def _spec(tensor, array):
    return keras.layers.InputSpec(
        shape=array.shape, dtype=tensor.dtype, name=tensor.name
    )


def saved_model(model, x, path):
    import tensorflow as tf

    _export(model, "tf_saved_model", path, x)
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.serve(keras.tree.map_structure(tf.constant, x))
    return [y.numpy() for y in keras.tree.flatten(outputs)]


def onnx(model, x, path):
    import onnxruntime

    path = path.with_suffix(".onnx")
    _export(model, "onnx", path, x)
    session = onnxruntime.InferenceSession(str(path))
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, _in_order(names, model, x))))


def litert(model, x, path):
    interpreter_class = _litert_interpreter()
    path = path.with_suffix(".tflite")
    _export(model, "litert", path, x)
    interpreter = interpreter_class(str(path))
    details = interpreter.get_input_details()
    arrays = _in_order([d["name"] for d in details], model, x)
    for detail, array in zip(details, arrays):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, arrays):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(detail["index"]) for detail in outputs]


def _litert_interpreter():
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.lite.Interpreter
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter


def openvino(model, x, path):
    import openvino as ov

    path = path.with_suffix(".xml")
    # `torch.jit.trace` takes no constants that have gradients.
    model.trainable = keras.config.backend() != "torch"
    _export(model, "openvino", path, x)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(str(path), "CPU", options)
    names = [" ".join(i.names) for i in compiled.inputs]
    results = compiled(_in_order(names, model, x))
    # On TensorFlow, OpenVINO hands out some tensors in the middle as well.
    return [results[i] for i, _ in enumerate(keras.tree.flatten(model.output))]


def torch_export(model, x, path):
    path = path.with_suffix(".pt2")
    _export(model, "torch", path, x)
    import torch

    module = torch.export.load(path).module()
    outputs = module(keras.tree.map_structure(torch.from_numpy, x))
    return [y.detach().numpy() for y in keras.tree.flatten(outputs)]


def _in_order(names, model, x):
    """The arrays of `x` in the order of an artefact's inputs."""
    own = [tensor.name for tensor in keras.tree.flatten(model.input)]
    arrays = keras.tree.flatten(x)
    places = [[i for i, n in enumerate(own) if n in name] for name in names]
    if sorted(places) != [[i] for i in range(len(own))]:
        return arrays
    return [arrays[i] for (i,) in places]


FORMATS = {
    "SavedModel": Format(
        saved_model,
        {"tensorflow": ("tensorflow",), "jax": ("tensorflow",)},
    ),
    "ONNX": Format(
        onnx,
        {
            "tensorflow": ("onnxruntime", "tf2onnx"),
            "jax": ("onnxruntime", "jax2onnx"),
            "torch": ("onnxruntime", "onnxscript"),
        },
    ),
    "LiteRT": Format(litert, {"torch": ("litert_torch", "ai_edge_litert")}),
    "OpenVINO": Format(
        openvino,
        dict.fromkeys(("tensorflow", "jax", "torch"), ("openvino",)),
    ),
    "torch.export": Format(torch_export, {}),
}
