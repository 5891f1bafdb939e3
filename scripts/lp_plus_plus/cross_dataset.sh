#!/usr/bin/env bash
# LP++, cross-dataset: bash scripts/lp_plus_plus/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" LPPlusPlus "$@"
