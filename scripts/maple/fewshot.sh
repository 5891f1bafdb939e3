#!/usr/bin/env bash
# MaPLe, few-shot: bash scripts/maple/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" MaPLe "$@"
