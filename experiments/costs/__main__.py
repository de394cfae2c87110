"""`python -m experiments.costs`: what LAuReL costs in a model of the paper.

Costs are counted from the model's shapes. With `--topology` the TPU compiler is
asked for a slice of chips too, which needs KERAS_BACKEND=jax and the extra
`tpu`, and takes minutes for each of the two models.
"""

import dataclasses
import sys
from pathlib import Path

import keras

from experiments import ranges
from experiments.costs.training_case import SAMPLES_A_CHIP
from experiments.costs.training_case import TrainingCase
from experiments.files import write_json
from experiments.options import make_parser
from experiments.plan import without_memory
from experiments.ranges import Checked
from experiments.ranges import setting
from keras_laurel.costs.measure import footprint
from keras_laurel.costs.tpu.chips import num_chips
from keras_laurel.costs.tpu.comparison import compare
from keras_laurel.costs.tpu.comparison import overheads
from keras_laurel.costs.tpu.compiler import EFFORTS
from keras_laurel.costs.tpu.compiler import PROGRAMS


@dataclasses.dataclass(frozen=True)
class Options(Checked):
    """What is counted or compiled of a `TrainingCase`."""

    batch_size: int | None = setting(
        None, "of all chips; default: by the model"
    )
    output: Path | None = setting(None, "JSON file for what was found")
    topology: str | None = setting(
        None, "slice of TPUs, such as v5e:4x4; what follows is for it"
    )
    program: str = setting(
        "train", f"one of {', '.join(PROGRAMS)}", ranges.one_of(*PROGRAMS)
    )
    distribution: str = setting("data", "data, fsdp or tensor")
    mesh: tuple[int, ...] | None = setting(
        None, "sizes of the mesh for tensor, such as 4 4", several=True
    )
    effort: str | None = setting(
        None, "of the compiler, O0 to O3", ranges.one_of(*EFFORTS)
    )


def main(arguments=None):
    parser = make_parser(
        "experiments.costs",
        __doc__,
        case=TrainingCase(variant="rw+lr"),
        options=Options(),
    )
    try:
        given = parser.parse_args(arguments)
        keras.config.set_dtype_policy("mixed_bfloat16")
        results = run(given.case, given.options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if given.options.output:
        write_json(given.options.output, results)
    if not all(cost["fits"] for cost in results.get("tpu", {}).values()):
        sys.exit("A model does not fit the memory of a chip.")


def run(case, options):
    """Print the tables; return what they were made of."""
    plain = dataclasses.replace(case, variant="baseline")
    cases = {"baseline": plain, case.variant: case}
    chips = num_chips(options.topology) if options.topology else 1
    batch_size = options.batch_size or SAMPLES_A_CHIP[case.model] * chips
    results = {}
    # First of all: it has to be before Keras or JAX look for a TPU.
    if options.topology:
        costs = {}
        for name, each in cases.items():
            costs[name] = each.compile(
                batch_size,
                options.distribution,
                options.mesh,
                program=options.program,
                topology=options.topology,
                effort=options.effort,
            )
        print(f"One chip of {options.topology}, {options.program}")
        print(f"{compare(costs)}\n")
        results["tpu"] = {name: c.to_dict() for name, c in costs.items()}
        added = overheads(costs[case.variant], costs["baseline"])
        results["percent_added"] = added
    models = [without_memory(x.build_model) for x in (case, plain)]
    counted = footprint(
        models[0],
        models[1] if case != plain else None,
        batch_size,
        case.length if case.is_language_model else None,
    )
    print(counted)
    about = {**dataclasses.asdict(case), **dataclasses.asdict(options)}
    about["output"] = str(options.output)
    return {"options": about, "footprint": counted.to_dict(), **results}


if __name__ == "__main__":
    main()
