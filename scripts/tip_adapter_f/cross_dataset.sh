#!/usr/bin/env bash
# Tip-Adapter-F, cross-dataset: bash scripts/tip_adapter_f/cross_dataset.sh [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" TipAdapterF "$@"
