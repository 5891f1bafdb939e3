#!/usr/bin/env bash
# SkipTuning, distribution shift: bash scripts/skip_tuning/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" SkipTuning "$@"
