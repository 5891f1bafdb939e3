#!/usr/bin/env bash
# PromptSRC, base to new: bash scripts/promptsrc/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" PromptSRC "$@"
