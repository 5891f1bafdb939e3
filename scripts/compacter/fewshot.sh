#!/usr/bin/env bash
# Compacter, few-shot: bash scripts/compacter/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" Compacter "$@"
