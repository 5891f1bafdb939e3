#!/usr/bin/env bash
# TaskRes, few-shot: bash scripts/taskres/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" TaskRes "$@"
