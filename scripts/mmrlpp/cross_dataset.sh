#!/usr/bin/env bash
# MMRL++, cross-dataset: bash scripts/mmrlpp/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" MMRLPP "$@"
