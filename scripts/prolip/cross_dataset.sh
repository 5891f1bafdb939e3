#!/usr/bin/env bash
# ProLIP, cross-dataset: bash scripts/prolip/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" ProLIP "$@"
