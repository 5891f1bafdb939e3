#!/usr/bin/env bash
# Tip-Adapter, few-shot: bash scripts/tip_adapter/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" TipAdapter "$@"
