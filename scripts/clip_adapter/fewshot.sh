#!/usr/bin/env bash
# CLIP-Adapter, few-shot: bash scripts/clip_adapter/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLIP_Adapter "$@"
