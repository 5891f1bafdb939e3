#!/usr/bin/env bash
# ProGrad, few-shot: bash scripts/prograd/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" ProGrad "$@"
