#!/usr/bin/env bash
# PromptSRC, distribution shift: bash scripts/promptsrc/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" PromptSRC "$@"
