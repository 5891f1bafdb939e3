#!/usr/bin/env bash
# KgCoOp, cross-dataset: bash scripts/kgcoop/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" KgCoOp "$@"
