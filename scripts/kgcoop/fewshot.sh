#!/usr/bin/env bash
# KgCoOp, few-shot: bash scripts/kgcoop/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" KgCoOp "$@"
