#!/usr/bin/env bash
# Tip-Adapter-F, few-shot: bash scripts/tip_adapter_f/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" TipAdapterF "$@"
