#!/usr/bin/env bash
# Zero-shot CLIP, distribution shift: bash scripts/zeroshot_clip/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" ZeroshotCLIP "$@"
