#!/usr/bin/env bash
# Cross-dataset transfer: trains on one dataset (in the papers ImageNet) and tests on ten others.
# bash scripts/cross_dataset.sh METHOD [SOURCE] [SEED ...] [options]; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" cross_dataset "$@"
