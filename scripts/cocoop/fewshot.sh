#!/usr/bin/env bash
# CoCoOp, few-shot: bash scripts/cocoop/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CoCoOp "$@"
