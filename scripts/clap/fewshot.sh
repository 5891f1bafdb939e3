#!/usr/bin/env bash
# CLAP, few-shot: bash scripts/clap/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLAP "$@"
