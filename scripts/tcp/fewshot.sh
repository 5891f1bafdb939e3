#!/usr/bin/env bash
# TCP, few-shot: bash scripts/tcp/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" TCP "$@"
