#!/usr/bin/env bash
# Compacter++, few-shot: bash scripts/compacterpp/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CompacterPP "$@"
