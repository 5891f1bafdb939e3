#!/usr/bin/env bash
# Adapter, cross-dataset: bash scripts/adapter/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" Adapter "$@"
