#!/usr/bin/env bash
# Full fine-tuning, few-shot: bash scripts/full_fine_tuning/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" FullFineTuning "$@"
