#!/usr/bin/env bash
# CoCoOp, few-shot: bash scripts/cocoop/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CoCoOp "$@"
