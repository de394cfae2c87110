"""What the paper leaves open, or this library chose: what is seen of each.

These are questions and no claims, so that they have no verdict.
"""

from experiments_claims import NAMES
from experiments_claims import Comparison

VISION = [
    Comparison(text, "vision", arm, reference)
    for text, arm, reference in (
        ("RW+LR: sigmoid in place of softmax", "sigmoid", "rw+lr"),
        ("RW+LR: one parameter, β = 2 − α", "complement", "rw+lr"),
        ("RW+LR: no weights, α = β = 1", "lr", "rw+lr"),
        ("RW+LR: α and β for each channel", "per-channel", "rw+lr"),
        (
            "RW+LR: only where the skip is an identity",
            *("identity-sites", "rw+lr"),
        ),
        ("RW+LR: start at α = β = 0.5", "scale-0.5", "rw+lr"),
        ("PA alone", "pa", "baseline"),
        ("LR alone", "lr", "baseline"),
    )
]

SUBLAYER = [
    Comparison(
        f"{name}: at each addition in place of around each block",
        *("table_5", f"{variant}-sublayer", variant),
    )
    for variant, name in NAMES.items()
]

CAST = "held_out_loss_after_casting"
BFLOAT16 = [
    comparison
    for variant in ("rw", "pa", "rw+lr")
    for comparison in (
        Comparison(
            f"{NAMES[variant]}: trained with the sum's weights in bfloat16",
            *("bfloat16", f"{variant}-cast", variant),
        ),
        Comparison(
            f"{NAMES[variant]}: the sum's weights rounded after training",
            *("bfloat16", variant, variant),
            value=CAST,
        ),
    )
]

UPCYCLING = [
    Comparison(text, "upcycling", arm, reference)
    for text, arm, reference in (
        (
            "A trained model goes on with RW+LR, not plain: same text",
            *("laurel", "plain"),
        ),
        (
            "The same on new text",
            *("laurel-new-text", "plain-new-text"),
        ),
        (
            "On new text, LoRA in place of all weights",
            *("lora-new-text", "plain-new-text"),
        ),
        (
            "On new text, RW+LR's weights alone in place of LoRA's",
            *("laurel-alone-new-text", "lora-new-text"),
        ),
    )
]

CHOICES = [*VISION, *SUBLAYER, *BFLOAT16, *UPCYCLING]
