"""KerasHub language models under EleutherAI's lm-evaluation-harness.

Needs the extra `eval`: `pip install "keras-laurel[eval]"`.
"""

try:
    import lm_eval as _lm_eval  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"`experiments.evaluation` found no package `{error.name}`; it needs "
        "EleutherAI's lm-evaluation-harness. Install it with the extra: "
        '`pip install "keras-laurel[eval]"`.'
    ) from error

from experiments.evaluation.harness_lm import HarnessLM as HarnessLM
