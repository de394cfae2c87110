"""A short run on text that is on every machine."""

from experiments.experiment import Experiment
from experiments.language.settings import LanguageSettings

DEMO_LLM = Experiment(
    name="demo_llm",
    title="A small Llama with and without LAuReL on Python's own source.",
    settings=LanguageSettings(
        tokens=400 * 2048,
        rounds=8,
        keep_model=True,
        measure_memory=True,
        prompt="def ",
    ),
    arms={"baseline": {}, "rw+lr": {"variant": "rw+lr"}},
)
EXPERIMENTS = (DEMO_LLM,)
