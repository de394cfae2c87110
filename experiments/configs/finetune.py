"""LAuReL and LoRA in a trained model, on other text: the paper's "works with".

The baseline of `make demo-llm` by default; `--start-from PRESET` for another.
"""

from experiments.experiment import Experiment
from experiments.language.settings import LanguageSettings

FINETUNE = Experiment(
    name="finetune",
    title="A trained model with LAuReL and LoRA on Shakespeare.",
    settings=LanguageSettings(
        start_from="demo_llm/baseline",
        dataset="shakespeare",
        lora_rank=4,
        tokens=200 * 2048,
        rounds=4,
        weight_decay=0.0,
        keep_model=True,
        prompt="**KING**  \n",
    ),
    arms={"lora": {}, "rw+lr+lora": {"variant": "rw+lr"}},
)
EXPERIMENTS = (FINETUNE,)
