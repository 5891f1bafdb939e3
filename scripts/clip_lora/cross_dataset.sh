#!/usr/bin/env bash
# CLIP-LoRA, cross-dataset: bash scripts/clip_lora/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CLIPLoRA "$@"
