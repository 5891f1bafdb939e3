#!/usr/bin/env bash
# BitFit, cross-dataset: bash scripts/bitfit/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" BitFit "$@"
