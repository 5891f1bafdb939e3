#!/usr/bin/env bash
# ProGrad, cross-dataset: bash scripts/prograd/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" ProGrad "$@"
