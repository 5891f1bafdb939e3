#!/usr/bin/env bash
# PromptSRC, cross-dataset: bash scripts/promptsrc/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" PromptSRC "$@"
