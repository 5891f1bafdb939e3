#!/usr/bin/env bash
# Linear probe, few-shot: bash scripts/linear_probe/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" LinearProbe "$@"
