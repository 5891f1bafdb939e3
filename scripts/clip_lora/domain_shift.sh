#!/usr/bin/env bash
# CLIP-LoRA, distribution shift: bash scripts/clip_lora/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CLIPLoRA "$@"
