"""`docs/families.md`, made of what `make test-families` found.

python -m tests.conversion.hub.family_table
"""

import collections

from keras_laurel.conversion.hub.families import FAMILIES
from keras_laurel.conversion.hub.families import UNSUPPORTED
from tests.conversion.hub import family_results
from tests.conversion.hub.family_results import ROOT
from tests.conversion.hub.other_classes import OTHERS

PATH = ROOT / "docs" / "families.md"
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}

HEAD = """\
# KerasHub transformers

`keras_laurel.laurelize` converts these families in place. The table is what
`make test-families` found with KerasHub {keras-hub} and Keras {keras}, on
models of four small blocks; `tests/conversion/hub/family_table.py` writes it.

"yes" means that a test has shown it; "–" that KerasHub has nothing of the
kind for the family, or that it does not generate text. "refused" is a clear
error of ours, "upstream" something that the plain model does not do either; a
number says what, below the table. "not run" means that no test has shown it
yet. "Proved with" is the fingerprint of the library's sources at that time,
where it was written down; `family_results.fingerprint` computes today's.

"""
MIDDLE = """\

## Not supported

`laurelize` raises a `ValueError` that says why.

"""
OTHER = """\

## The other backbones

They are no stacks of blocks that the library knows. "graph": the additions
stand in a functional graph, where `residual_sites` finds them. "inside": they
stand in the `call` of layers. "none": there is no residual addition.

"""
# Heading: the properties it sums up, and what they are.
COLUMNS = {
    "Same": (
        ("start", "compiled", "dropout"),
        "at conversion the outputs are the same bit for bit, in float32 and "
        "in bfloat16, in training with dropout too; compiled to 1e-5.",
    ),
    "Sublayer": (
        ("sublayer",),
        '`granularity="sublayer"` is defined as well as `"block"`.',
    ),
    "Equation": (
        ("equation",),
        "with LAuReL weights off their start the outputs are those of the "
        "equation written into, or around, KerasHub's own blocks, to 1e-5, or "
        "to what one rounding of its weights changes in the plain model.",
    ),
    "Trains": (
        ("trains",),
        "with each variant the loss falls and every LAuReL weight moves.",
    ),
    "Remat": (
        ("remat",),
        "the same when blocks are built under "
        '`keras.RematScope("list_of_layers")`.',
    ),
    "Generates": (
        ("generates",),
        "the most likely tokens, generated with a cache, are those of "
        "recomputing the whole text for each, with RW+LR, PA and RW+LR+PA.",
    ),
    "Samplers": (
        ("samplers",),
        "contrastive sampling and beam search run; the first equals "
        "recomputation where it has no penalty.",
    ),
    "`score()`": (("score",), "equals the logits."),
    "Saves": (
        ("saves", "plain_preset"),
        "`.keras`, `.weights.h5` and presets load exactly in a fresh process; "
        "a preset of the plain model loads and converts.",
    ),
    "LoRA": (
        ("lora",),
        "before or after conversion; LAuReL stays trainable; files of LoRA "
        "weights fit across conversion.",
    ),
    "int8": (
        ("int8",),
        "LAuReL stays in float; a `.keras` file reloads exactly.",
    ),
    "Layout": (
        ("layout_map",),
        "variables keep their paths, and the layout map matches the same ones "
        "(no map: the paths alone were shown).",
    ),
}


def render(versions, results):
    """The text of the page."""
    notes = collections.OrderedDict()
    by_family = collections.defaultdict(list)
    for result in results:
        by_family[result.family].append(result)
    supported = {
        name: found
        for name, found in by_family.items()
        if found[0].backbone in FAMILIES
    }
    for backbone in FAMILIES:
        if backbone not in {r.backbone for r in results}:
            supported[backbone.removesuffix("Backbone")] = [_nothing(backbone)]
    headings = ["Family", "Blocks", *COLUMNS, "Backends", "Proved with"]
    rows = [_row(name, supported[name], notes) for name in _in_order(supported)]
    return "".join(
        [
            HEAD.format(**versions),
            *(f"- {name}: {text}\n" for name, (_, text) in COLUMNS.items()),
            "\n",
            _table(headings, rows),
            "\n",
            *(f"{number}. {note}.\n" for note, number in notes.items()),
            MIDDLE,
            _table(["Class", "Why"], _refused()),
            OTHER,
            _table(["Class", "Additions", "Note"], _others()),
        ]
    )


def _nothing(backbone):
    """A row of which no property was shown."""
    return family_results.Result("", backbone, "", "", "")


def _in_order(families):
    order = list(FAMILIES)
    return sorted(families, key=lambda x: order.index(families[x][0].backbone))


def _row(name, results, notes):
    backbone = results[0].backbone
    family = FAMILIES[backbone]
    label = name if name + "Backbone" == backbone else f"{name} (`{backbone}`)"
    classes = family.block_classes or ["of its parts"]
    blocks = ", ".join(f"`{x}`" if " " not in x else x for x in classes)
    cells = [_cell(results, names, notes) for names, _ in COLUMNS.values()]
    return [label, blocks, *cells, _backends(results), _sources(results)]


def _cell(results, properties, notes):
    """The worst of what was found, with the numbers of its notes."""
    found = [r for r in results if r.property in properties]
    outcomes = {r.outcome for r in found}
    if not {r.property for r in found} >= set(properties):
        return "not run"
    for outcome in ("failed", "upstream", "refused"):
        if outcome in outcomes:
            texts = [r.note for r in found if r.outcome == outcome and r.note]
            numbers = {notes.setdefault(x, len(notes) + 1) for x in texts}
            return f"{outcome} {', '.join(map(str, sorted(numbers)))}".strip()
    return "yes" if "passed" in outcomes else "–"


def _backends(results):
    failed = {r.backend for r in results if r.outcome == "failed"}
    ran = {r.backend for r in results} - failed
    return ", ".join(BACKENDS[name] for name in BACKENDS if name in ran) or "–"


def _sources(results):
    """The fingerprints of what holds, all of which may be unknown."""
    return ", ".join(sorted({r.sources for r in results} - {""})) or "–"


def stale(results):
    """Names of the families with a proof that other sources have given."""
    return sorted({r.family for r in results if family_results.is_stale(r)})


def _others():
    return [
        [f"`{name}`", row.outcome, row.note or "–"]
        for name, row in sorted(OTHERS.items())
    ]


def _refused():
    return [[f"`{name}`", why] for name, why in sorted(UNSUPPORTED.items())]


def _table(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(render(*family_results.load()))
    print(f"Written to {PATH.relative_to(ROOT)}")
