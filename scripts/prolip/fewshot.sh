#!/usr/bin/env bash
# ProLIP, few-shot: bash scripts/prolip/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" ProLIP "$@"
