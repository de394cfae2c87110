"""Settings that the experiments on text share."""

from experiments.language.settings import LanguageSettings

FAMILY = "language"
# Pairs of null arms differ by 0.007 nats: this many show 0.01 in four of five
# cases, and a tenth of the paper's gains in one of two.
SEEDS = 6
# Of what asks about choices.
FEWER_SEEDS = 3
# The setting `bpe` of the pilot. At twice the rate the loss is lower, but pairs
# of null arms differ by three times as much; `language_rates` looks there.
REDUCED = LanguageSettings(
    model="tiny",
    depth=8,
    width=64,
    # The paper's share of the width: 32 of 784.
    rank=3,
    vocabulary_size=1024,
    eval_split="test",
    initialization="fan_in",
    tokens=524_288,
    tokens_per_step=2048,
    rounds=4,
    evaluation_batches=64,
    learning_rate=4e-3,
)
# The paper's 24 blocks, narrow: rank 2 of 48 is its share of the width.
DEEP = {"model": "ablation-narrow", "depth": 24, "width": 48, "rank": 2}
# 10 B tokens, 0.5 M in an update. The rate is not tuned: pass the one that
# language_tuning_full finds best.
FULL = LanguageSettings(
    model="ablation-157m",
    precision="mixed_bfloat16",
    dataset="c4",
    eval_split="validation",
    max_tokens=10_100_000_000,
    tokens=19_000 * 524_288,
    tokens_per_step=524_288,
    accumulate=4,
    rounds=38,
    evaluation_batches=64,
)
