#!/usr/bin/env bash
# Tip-Adapter, cross-dataset: bash scripts/tip_adapter/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" TipAdapter "$@"
