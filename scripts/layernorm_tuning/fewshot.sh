#!/usr/bin/env bash
# LayerNorm tuning, few-shot: bash scripts/layernorm_tuning/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" LayerNormTuning "$@"
