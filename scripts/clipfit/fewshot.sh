#!/usr/bin/env bash
# CLIPFit, few-shot: bash scripts/clipfit/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLIPFit "$@"
