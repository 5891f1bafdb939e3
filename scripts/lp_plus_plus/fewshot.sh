#!/usr/bin/env bash
# LP++, few-shot: bash scripts/lp_plus_plus/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" LPPlusPlus "$@"
