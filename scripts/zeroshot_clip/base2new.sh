#!/usr/bin/env bash
# Zero-shot CLIP, base to new: bash scripts/zeroshot_clip/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" ZeroshotCLIP "$@"
