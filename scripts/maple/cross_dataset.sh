#!/usr/bin/env bash
# MaPLe, cross-dataset: bash scripts/maple/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" MaPLe "$@"
