#!/usr/bin/env bash
# Zero-shot CLIP on all classes: bash scripts/zeroshot_clip/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options].
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" ZeroshotCLIP "$@"
