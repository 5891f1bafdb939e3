#!/usr/bin/env bash
# FLYP, cross-dataset: bash scripts/flyp/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" FLYP "$@"
