#!/bin/sh
# Add runs of gpu_text on a machine with a GPU and without a network. What it
# lacks is carried there: `.wheels/`, from `make gpu-wheels`, and `.gpu-data/`,
# from `make gpu-data`.
#
#     sh experiments/without_network.sh RESULTS MINUTES [OPTION ...]
#
# RESULTS begins as results/gpu_text.json, unless it is there, and gets each
# run as it ends. No run begins that would end after MINUTES.
set -eu
results=$1 minutes=$2
shift 2
packages=$(mktemp -d)
python3 -m pip install -q --no-index --no-deps --no-compile \
    --target "$packages" .wheels/*.whl
mkdir -p runs/gpu_text
python3 -m tarfile -e .gpu-data/gpu_text.tar.xz runs/gpu_text
if [ ! -e "$results" ] && [ -e results/gpu_text.json ]; then
    cp results/gpu_text.json "$results"
fi
export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export KERAS_BACKEND=jax
exec python3 -m experiments gpu_text --accelerator --add \
    --results "$results" --minutes "$minutes" "$@"
