"""The tasks of the paper's tables, by the names of lm-evaluation-harness.

The paper does not say how many examples its prompts had, nor which of several
versions of a task it took; where there is a choice it is ours, as said here.
"""

import typing


class PaperTask(typing.NamedTuple):
    """A task of the paper.

    Args:
        paper: Its name there.
        harness: Its name in the harness, or `None` where there is none.
        note: What to know.
        runs_code: Whether it runs what the model has written.
    """

    paper: str
    harness: str | None
    note: str
    runs_code: bool = False


MATH = PaperTask("Math", "minerva_math", "pip install 'lm-eval[math]'")
MMLU = PaperTask("MMLU", "mmlu", "0 examples; 5 are customary")
NEEDS_IMAGES = "HarnessLM reads text alone"
TABLES = {
    "table_2": (
        MATH,
        PaperTask("GSM8K-CoT", "gsm8k_cot", "8 examples"),
        PaperTask("GSM8K-PAL", None, "the harness has no such task"),
        MMLU,
        PaperTask("BoolQ", "boolq", "0 examples"),
        PaperTask("TyDi QA", "tydiqa_goldp", "gold passage, 9 languages"),
        PaperTask("HellaSwag", "hellaswag", "0 examples"),
        PaperTask("HumanEval", "humaneval", "0 examples", runs_code=True),
        PaperTask("MBPP", "mbpp", "3 examples", runs_code=True),
    ),
    "table_3": (
        MATH,
        PaperTask("MGSM", "mgsm_direct", "0 examples, 11 languages"),
        MMLU,
        PaperTask("Belebele", "belebele", "0 examples, 122 languages"),
        PaperTask("BookQA", "openbookqa", "0 examples; by its reference"),
        PaperTask("WMT23", None, "the harness has WMT14 and WMT16"),
        PaperTask("MMMU", None, NEEDS_IMAGES),
        PaperTask("COCO-Caption", None, NEEDS_IMAGES),
        PaperTask("DocVQA", None, NEEDS_IMAGES),
        PaperTask("TextVQA", None, NEEDS_IMAGES),
    ),
}


def expand(names, allow_code=False):
    """The names in the harness, and the paper's tasks that are left out."""
    found, left_out = [], []
    for name in names:
        for task in TABLES.get(name, (PaperTask(name, name, ""),)):
            runs = task.harness and (allow_code or not task.runs_code)
            (found if runs else left_out).append(task)
    return list(dict.fromkeys(task.harness for task in found)), left_out


def describe(task):
    note = task.note + ("; runs code: --allow-code" * task.runs_code)
    return f"  {task.paper:<12}  {task.harness or '-':<13}  {note}"


def describe_tables():
    """All tables as text."""
    lines = []
    for table, tasks in TABLES.items():
        lines += [table, *map(describe, tasks)]
    return "\n".join(lines)
