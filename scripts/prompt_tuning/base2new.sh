#!/usr/bin/env bash
# Prompt tuning, base to new: bash scripts/prompt_tuning/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" PromptTuning "$@"
