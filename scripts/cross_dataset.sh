#!/usr/bin/env bash
# Cross-dataset transfer: trains on one dataset, ImageNet in the literature, and tests on ten others.
# bash scripts/cross_dataset.sh METHOD [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" cross_dataset "$@"
