#!/usr/bin/env bash
# CoOp, few-shot: bash scripts/coop/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CoOp "$@"
