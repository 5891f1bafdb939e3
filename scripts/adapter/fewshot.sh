#!/usr/bin/env bash
# Adapter, few-shot: bash scripts/adapter/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" Adapter "$@"
