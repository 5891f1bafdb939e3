#!/usr/bin/env bash
# ProGrad, few-shot: bash scripts/prograd/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" ProGrad "$@"
