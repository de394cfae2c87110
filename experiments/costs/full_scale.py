"""Parameters and flops of the paper's models, for the report's estimates.

`python -m experiments.costs.full_scale` writes `results/full_scale.json`. No
model gets a value: a laptop will do.
"""

from experiments.costs.training_case import TrainingCase
from experiments.files import RESULTS
from experiments.files import made_with
from experiments.files import write_json
from experiments.options import make_parser
from experiments.plan import count
from experiments.plan import without_memory
from keras_laurel.costs import footprint

CASES = {
    "resnet50": ("baseline", "deeper", "rw", "rw+lr", "rw+lr+pa"),
    "ablation-157m": ("baseline", "pa", "rw+lr+pa"),
    "llm-1b": ("baseline", "rw+lr"),
    "llm-4b": ("baseline", "deeper", "rw+lr"),
}


def measure(model, variant):
    """Return the counts of a model, and the cost of training per sample."""
    case = TrainingCase(model, variant)
    length = None
    if case.is_language_model:
        length = case.architecture().sequence_length
    built = without_memory(case.build_model)
    found = footprint(built, sequence_length=length)
    return {
        "model": model,
        "variant": variant,
        "parameters": count(built.trainable_weights),
        "sequence_length": length,
        "training_flops": found.training_flops,
    }


def main():
    make_parser("experiments.costs.full_scale", __doc__).parse_args()
    rows = [measure(model, x) for model in CASES for x in CASES[model]]
    about = {
        "command": "python -m experiments.costs.full_scale",
        "unit": "flops of a training step on one image or one sequence",
        "made_with": made_with(),
    }
    write_json(RESULTS / "full_scale.json", {"about": about, "rows": rows})


if __name__ == "__main__":
    main()
