#!/usr/bin/env bash
# PromptSRC, few-shot: bash scripts/promptsrc/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" PromptSRC "$@"
