#!/usr/bin/env bash
# Full fine-tuning, cross-dataset: bash scripts/full_fine_tuning/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" FullFineTuning "$@"
