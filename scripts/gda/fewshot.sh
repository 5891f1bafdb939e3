#!/usr/bin/env bash
# GDA, few-shot: bash scripts/gda/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" GDA "$@"
