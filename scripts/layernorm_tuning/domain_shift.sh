#!/usr/bin/env bash
# LayerNorm tuning, distribution shift: bash scripts/layernorm_tuning/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" LayerNormTuning "$@"
