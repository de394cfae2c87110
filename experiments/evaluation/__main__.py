"""`python -m experiments.evaluation`: lm_eval's own command line.

It knows one more model, `keras_hub`, and the paper's tasks as groups:

    python -m experiments.evaluation run --model keras_hub \\
        --model_args path=PRESET,max_length=2048 --batch_size 8 \\
        --include_path experiments/evaluation/tasks --tasks table_2
"""

from lm_eval.__main__ import cli_evaluate

from experiments.evaluation import keras_hub_lm  # noqa: F401, registers it

if __name__ == "__main__":
    cli_evaluate()
