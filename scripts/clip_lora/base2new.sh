#!/usr/bin/env bash
# CLIP-LoRA, base to new: bash scripts/clip_lora/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CLIPLoRA "$@"
