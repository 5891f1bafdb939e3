#!/usr/bin/env bash
# BitFit, few-shot: bash scripts/bitfit/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" BitFit "$@"
