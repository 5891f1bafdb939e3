#!/usr/bin/env bash
# KgCoOp, few-shot: bash scripts/kgcoop/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" KgCoOp "$@"
