"""Table 5's variants with 10 M parameters and 100 M tokens, for one GPU.

A run takes about a minute there. `make gpu-experiments` adds as many as end in
9 minutes to results/gpu_text.json, so the seeds here are only the most there
will be.
"""

from experiments.configs.table_5 import gains
from experiments.experiment import Experiment
from experiments.language.settings import LanguageSettings

# In the order in which they are trained.
VARIANTS = ("rw+lr", "rw", "pa", "rw+lr+pa", "lr", "deeper")

GPU_TEXT = Experiment(
    name="gpu_text",
    title="Every variant on text, with 10 M parameters and 100 M tokens.",
    settings=LanguageSettings(
        model="ablation-10m",
        initialization="fan_in",
        dataset="python_packages",
        eval_split="test",
        tokens=1536 * 65_536,
        tokens_per_step=65_536,
        rounds=2,
        evaluation_batches=16,
        learning_rate=3e-3,
        precision="mixed_bfloat16",
    ),
    arms={
        "baseline": {},
        # A null arm, to say how much of a difference is chance.
        "moved": {"perturbation": 1e-6},
        **{variant: {"variant": variant} for variant in VARIANTS},
    },
    seeds=20,
    claims=gains("two more blocks"),
)
EXPERIMENTS = (GPU_TEXT,)
