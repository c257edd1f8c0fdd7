#!/usr/bin/env bash
# What a machine with a GPU is to show, in a quarter of an hour: the devices that the dock offers,
# then training and prediction on CUDA beside the bare loops. For a fresh clone with torch for CUDA.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python -m pip install --quiet --editable .
python -m napari_spss.gui.models.device_list
timeout 600 python benchmarks/speed.py --device cuda --only training prediction \
    --out "${1:-benchmarks/results/speed}"
