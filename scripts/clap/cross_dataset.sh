#!/usr/bin/env bash
# CLAP, cross-dataset: bash scripts/clap/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CLAP "$@"
