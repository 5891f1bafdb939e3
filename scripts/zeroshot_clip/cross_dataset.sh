#!/usr/bin/env bash
# Zero-shot CLIP, cross-dataset: bash scripts/zeroshot_clip/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" ZeroshotCLIP "$@"
