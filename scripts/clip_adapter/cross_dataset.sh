#!/usr/bin/env bash
# CLIP-Adapter, cross-dataset: bash scripts/clip_adapter/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CLIP_Adapter "$@"
