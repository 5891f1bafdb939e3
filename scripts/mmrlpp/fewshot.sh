#!/usr/bin/env bash
# MMRL++, few-shot: bash scripts/mmrlpp/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" MMRLPP "$@"
