"""Parameters and flops of the paper's models, for the report's estimates.

    python examples/full_scale_costs.py

writes `results/full_scale.json`. No model gets a value: a laptop will do.
"""

import argparse
import math
from pathlib import Path

import keras

from experiment_runs import versions
from experiments.costs.training_case import TrainingCase
from keras_laurel import footprint
from run_folder import write_json

PATH = Path(__file__).parent.parent / "results" / "full_scale.json"
CASES = {
    "resnet50": ("baseline", "deeper", "rw", "rw+lr", "rw+lr+pa"),
    "ablation-157m": ("baseline", "pa", "rw+lr+pa"),
    "llm-1b": ("baseline", "rw+lr"),
    "llm-4b": ("baseline", "deeper", "rw+lr"),
}


def measure(model, variant):
    """Dict of what a model has and what training on a sample takes."""
    case = TrainingCase(model, variant)
    length = None
    if case.is_language_model:
        length = case.architecture().sequence_length
    with keras.StatelessScope(initialize_variables=False):
        built = case.build_model()
    found = footprint(built, sequence_length=length)
    trainable = sum(math.prod(x.shape) for x in built.trainable_weights)
    # Or the next scope that ends would give the weights values after all.
    keras.utils.clear_session()
    return {
        "model": model,
        "variant": variant,
        "parameters": trainable,
        "sequence_length": length,
        "training_flops": found.training_flops,
    }


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = [measure(model, x) for model in CASES for x in CASES[model]]
    about = {
        "command": "python examples/full_scale_costs.py",
        "unit": "flops of a training step on one image or one sequence",
        "versions": versions(),
    }
    write_json(PATH, {"about": about, "rows": rows})
    print(f"Written to {PATH}")


if __name__ == "__main__":
    main()
