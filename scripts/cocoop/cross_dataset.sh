#!/usr/bin/env bash
# CoCoOp, cross-dataset: bash scripts/cocoop/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CoCoOp "$@"
