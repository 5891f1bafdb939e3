#!/usr/bin/env bash
# CoCoOp, cross-dataset: bash scripts/cocoop/cross_dataset.sh [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CoCoOp "$@"
