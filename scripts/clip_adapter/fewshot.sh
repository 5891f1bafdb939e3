#!/usr/bin/env bash
# CLIP-Adapter, few-shot: bash scripts/clip_adapter/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLIP_Adapter "$@"
