#!/usr/bin/env bash
# Prompt tuning, distribution shift: bash scripts/prompt_tuning/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" PromptTuning "$@"
