"""Time of LAuReL decoders over plain ones: training steps and generation.

A GPT-2-small-shaped and a Llama-shaped model of KerasHub, on JAX and
TensorFlow. Variants and plain model take turns in one process; reported are
the median ratio to the plain model of the same round and its quartiles. For
generation it is the ratio of tokens per second.

    python benchmarks/decoder_time.py
    python benchmarks/decoder_time.py --backends jax --cases llama --rounds 20
"""

import argparse
import json
import os
import subprocess
import sys

from measuring import interleaved
from measuring import parser
from measuring import ratio
from measuring import write

BACKENDS = ("jax", "tensorflow")
CASES = ("gpt2", "llama")
VARIANTS = ("rw", "rw+lr", "rw+lr+pa")
RANK = 32
BATCH, LENGTH = 2, 128
PROMPT, GENERATED = 16, 64
VOCABULARY = 8192


def main():
    arguments = parse_arguments()
    if arguments.one:
        return print(json.dumps(measure_case(arguments.one, arguments.rounds)))
    rows = []
    for backend in arguments.backends:
        for case in arguments.cases:
            rows += in_fresh_process(backend, case, arguments.rounds)
    write(
        "decoder_time",
        rows,
        command="python benchmarks/decoder_time.py",
        unit="step: seconds, variant over plain; generate: tokens per "
        "second, variant over plain",
        setting=f"rank {RANK}, k 3, vocabulary {VOCABULARY}, float32; steps of "
        f"{BATCH} x {LENGTH} tokens with SGD; greedy generation of "
        f"{GENERATED} tokens after {PROMPT}; gpt2: 12 blocks, D = 768, "
        "feed-forward 3072; llama: 12 blocks, D = 768, feed-forward 2048, "
        "12 query and 4 key-value heads",
    )


def in_fresh_process(backend, case, rounds):
    command = [sys.executable, __file__, "--one", case, "--rounds", str(rounds)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rows = [
        {"backend": backend, "case": case, **row}
        for row in json.loads(output.splitlines()[-1])
    ]
    for row in rows:
        low, high = row["quartiles"]
        print(
            f"{backend:10} {case:6} {row['what']:9} {row['variant']:9} "
            f"{row['median']:.3f} ({low:.3f} to {high:.3f})",
            flush=True,
        )
    return rows


def measure_case(case, rounds):
    """A row for each variant and each of training step and generation."""
    models = {name: build(case, name) for name in ("baseline", *VARIANTS)}
    steps = {name: training_step(model) for name, model in models.items()}
    rows = measured_rows("step", interleaved(steps, rounds))
    texts = {name: generation(model) for name, model in models.items()}
    return rows + measured_rows("generate", interleaved(texts, rounds))


def measured_rows(what, seconds):
    if what == "generate":
        # Tokens per second: the ratio the other way round.
        seconds = [{k: 1 / v for k, v in row.items()} for row in seconds]
    return [
        {"what": what, "variant": name, **ratio(seconds, name)}
        for name in VARIANTS
    ]


def build(case, variant):
    import keras
    import keras_hub

    import keras_laurel

    keras.utils.set_random_seed(0)
    shape = dict(vocabulary_size=VOCABULARY, num_layers=12, hidden_dim=768)
    if case == "gpt2":
        backbone = keras_hub.models.GPT2Backbone(
            **shape,
            num_heads=12,
            intermediate_dim=3072,
            dropout=0.0,
            max_sequence_length=LENGTH,
        )
        task = keras_hub.models.GPT2CausalLM(backbone)
    else:
        backbone = keras_hub.models.LlamaBackbone(
            **shape,
            num_query_heads=12,
            num_key_value_heads=4,
            intermediate_dim=2048,
        )
        task = keras_hub.models.LlamaCausalLM(backbone)
    if variant != "baseline":
        options = {"rank": RANK} if "lr" in variant else {}
        keras_laurel.laurelize(task, keras_laurel.get(variant, **options))
    task.compile(optimizer="sgd", sampler="greedy", weighted_metrics=[])
    return task


def training_step(task):
    import numpy as np

    ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, LENGTH))
    x = {
        "token_ids": ids.astype("int32"),
        "padding_mask": np.ones((BATCH, LENGTH), "bool"),
    }
    return lambda: task.train_on_batch(x, x["token_ids"])


def generation(task):
    import numpy as np

    length = PROMPT + GENERATED
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (1, length))
    x = {
        "token_ids": ids.astype("int32"),
        "padding_mask": np.arange(length)[None] < PROMPT,
    }
    return lambda: task.generate(dict(x), stop_token_ids=None)


def parse_arguments():
    options = parser(__doc__, rounds=10, backends=BACKENDS, cases=CASES)
    options.add_argument("--one", metavar="CASE", help=argparse.SUPPRESS)
    return options.parse_args()


if __name__ == "__main__":
    main()
