#!/usr/bin/env bash
# IVLP, cross-dataset: bash scripts/ivlp/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" IVLP "$@"
