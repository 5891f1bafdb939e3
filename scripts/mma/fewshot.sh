#!/usr/bin/env bash
# MMA, few-shot: bash scripts/mma/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" MMA "$@"
