#!/usr/bin/env bash
# SkipTuning, few-shot: bash scripts/skip_tuning/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" SkipTuning "$@"
