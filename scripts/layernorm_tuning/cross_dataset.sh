#!/usr/bin/env bash
# LayerNorm tuning, cross-dataset: bash scripts/layernorm_tuning/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" LayerNormTuning "$@"
