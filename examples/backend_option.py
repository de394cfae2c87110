"""The choice of Keras' backend, made before Keras is imported."""

import os

BACKENDS = ("jax", "tensorflow", "torch")
DEVICES = ". jax and tensorflow use every device they see, torch uses one"


def add_backend_option(group, note=""):
    """Adds `--backend`, with a note at the end of its help."""
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default=os.environ.get("KERAS_BACKEND", "jax"),
        help="Keras backend; the initial default is $KERAS_BACKEND, else jax"
        + note,
    )
