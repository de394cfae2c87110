"""One small file for each table of the paper, or experiment.

Each module has a tuple `EXPERIMENTS`.
"""

import importlib
import pkgutil


def all_experiments():
    """Dict of every `Experiment` by name."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    return {
        experiment.name: experiment
        for module in modules
        for experiment in getattr(module, "EXPERIMENTS", ())
    }


def find_experiment(name):
    """The `Experiment` of a name.

    Raises:
        ValueError: If there is none.
    """
    known = all_experiments()
    if name not in known:
        raise ValueError(
            f"The name of an experiment must be one of {', '.join(known)}. "
            f"Received: {name}."
        )
    return known[name]


def list_experiments():
    known = all_experiments()
    width = max(map(len, known))
    lines = [f"  {name:{width}}  {x.title}" for name, x in known.items()]
    return "\n".join(["configs:", *lines])
