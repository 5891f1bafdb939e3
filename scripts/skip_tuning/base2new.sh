#!/usr/bin/env bash
# SkipTuning, base to new: bash scripts/skip_tuning/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" SkipTuning "$@"
