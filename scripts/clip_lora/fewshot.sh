#!/usr/bin/env bash
# CLIP-LoRA, few-shot: bash scripts/clip_lora/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLIPLoRA "$@"
