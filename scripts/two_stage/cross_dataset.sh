#!/usr/bin/env bash
# 2SFS, cross-dataset: bash scripts/two_stage/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" TwoStage "$@"
