"""Tables 2 and 3: the 1B and the 4B model, on 0.5 T tokens of C4.

The data of the paper's models is not public, and that of the 4B model has
images too. Pass `--distribution fsdp`.
"""

from experiments.experiment import Experiment
from experiments.language.settings import LanguageSettings


def large(name, title, tokens_per_step, steps):
    return Experiment(
        name=name,
        title=title,
        settings=LanguageSettings(
            model=name.replace("_", "-"),
            dataset="c4",
            eval_split="validation",
            tokens=steps * tokens_per_step,
            tokens_per_step=tokens_per_step,
            rounds=steps // 4000,
            warmup=4000 / steps,
            precision="mixed_bfloat16",
            remat=True,
            keep_model=True,
        ),
        arms={"baseline": {}, "rw+lr": {"variant": "rw+lr"}},
    )


EXPERIMENTS = (
    large("llm_1b", "Table 2: a 1B model with RW+LR.", 512 * 2048, 476_000),
    large("llm_4b", "Table 3: a 4B model with RW+LR.", 1024 * 4096, 120_000),
)
