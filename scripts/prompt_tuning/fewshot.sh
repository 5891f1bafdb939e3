#!/usr/bin/env bash
# Prompt tuning, few-shot: bash scripts/prompt_tuning/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" PromptTuning "$@"
