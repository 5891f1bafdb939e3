#!/usr/bin/env bash
# CoOp, few-shot: bash scripts/coop/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CoOp "$@"
