#!/usr/bin/env bash
# 2SFS, few-shot: bash scripts/two_stage/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" TwoStage "$@"
