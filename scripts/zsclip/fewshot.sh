#!/usr/bin/env bash
# Zero-shot CLIP on all classes: bash scripts/zsclip/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options].
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" ZeroshotCLIP "$@"
