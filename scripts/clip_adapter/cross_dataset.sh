#!/usr/bin/env bash
# CLIP-Adapter, cross-dataset: bash scripts/clip_adapter/cross_dataset.sh [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CLIP_Adapter "$@"
