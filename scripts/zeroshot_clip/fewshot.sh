#!/usr/bin/env bash
# Zero-shot CLIP, few-shot: bash scripts/zeroshot_clip/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" ZeroshotCLIP "$@"
