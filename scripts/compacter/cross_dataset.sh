#!/usr/bin/env bash
# Compacter, cross-dataset: bash scripts/compacter/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" Compacter "$@"
