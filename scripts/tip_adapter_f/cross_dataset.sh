#!/usr/bin/env bash
# Tip-Adapter-F, cross-dataset: bash scripts/tip_adapter_f/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" TipAdapterF "$@"
