#!/usr/bin/env bash
# SkipTuning, cross-dataset: bash scripts/skip_tuning/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" SkipTuning "$@"
