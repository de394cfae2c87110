"""KerasHub language models under EleutherAI's lm-evaluation-harness.

Needs the extra `eval`: `pip install "keras-laurel[eval]"`.
"""

from experiments.evaluation.harness_lm import HarnessLM as HarnessLM
