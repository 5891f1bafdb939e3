#!/usr/bin/env bash
# Prompt tuning, cross-dataset: bash scripts/prompt_tuning/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" PromptTuning "$@"
