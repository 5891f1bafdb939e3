#!/usr/bin/env bash
# IVLP, few-shot: bash scripts/ivlp/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" IVLP "$@"
