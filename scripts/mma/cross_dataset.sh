#!/usr/bin/env bash
# MMA, cross-dataset: bash scripts/mma/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" MMA "$@"
