#!/usr/bin/env bash
# Zero-shot CLIP on the base and the new classes: bash scripts/zeroshot_clip/base2new.sh [DATASET] [SEED ...] [options].
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" ZeroshotCLIP "$@"
