#!/usr/bin/env bash
# FLYP, few-shot: bash scripts/flyp/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" FLYP "$@"
