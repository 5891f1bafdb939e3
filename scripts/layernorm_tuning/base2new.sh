#!/usr/bin/env bash
# LayerNorm tuning, base to new: bash scripts/layernorm_tuning/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" LayerNormTuning "$@"
