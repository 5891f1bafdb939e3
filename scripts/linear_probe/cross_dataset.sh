#!/usr/bin/env bash
# Linear probe, cross-dataset: bash scripts/linear_probe/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" LinearProbe "$@"
