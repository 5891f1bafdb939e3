#!/usr/bin/env bash
# CoOp, cross-dataset: bash scripts/coop/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CoOp "$@"
