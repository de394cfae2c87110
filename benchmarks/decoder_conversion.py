"""Seconds and memory to convert a backbone of a billion parameters.

    python benchmarks/decoder_conversion.py

Memory is that of the process before and after `laurelize`, beside the bytes
of the variables it adds: a second copy of the weights would show as the bytes
of the backbone.
"""

import gc
import os
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import keras_hub
from measuring import parser
from measuring import write

import keras_laurel

MEGABYTE = 2**20


def main():
    parser(__doc__).parse_args()
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=32_000,
        num_layers=20,
        hidden_dim=2048,
        intermediate_dim=5632,
        num_query_heads=16,
        num_key_value_heads=8,
        dtype="bfloat16",
    )
    before = {id(v) for v in backbone.variables}
    rows = []
    parameters = backbone.count_params()
    rows.append(converted(backbone, parameters))
    kept = before <= {id(v) for v in backbone.variables}
    print(rows[0], "the same variables:", kept)
    write(
        "decoder_conversion",
        [{**rows[0], "same_variables": kept}],
        command="python benchmarks/decoder_conversion.py",
        unit="seconds; MiB of the process and of variables",
        setting="Llama-shaped, 20 blocks, D = 2048, bfloat16; rw+lr+pa, "
        f"rank 32, k 3; backend {keras.backend.backend()}",
    )


def converted(backbone, parameters):
    gc.collect()
    resident, start = resident_bytes(), time.perf_counter()
    layer = keras_laurel.get("rw+lr+pa", rank=32)
    keras_laurel.laurelize(backbone, layer)
    seconds = time.perf_counter() - start
    gc.collect()
    grown = resident_bytes() - resident
    laurels = keras_laurel.laurel_layers(backbone)
    added = sum(bytes_of(v) for layer in laurels for v in layer.weights)
    return {
        "parameters": parameters,
        "seconds": round(seconds, 2),
        "backbone_mib": round(
            (sum(map(bytes_of, backbone.weights)) - added) / MEGABYTE, 1
        ),
        "added_mib": round(added / MEGABYTE, 1),
        "process_grew_mib": round(grown / MEGABYTE, 1),
    }


def bytes_of(variable):
    size = 1
    for length in variable.shape:
        size *= length
    return size * (2 if "16" in variable.dtype else 4)


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
