#!/usr/bin/env bash
# TaskRes, cross-dataset: bash scripts/taskres/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" TaskRes "$@"
