#!/usr/bin/env bash
# CLIPFit, few-shot: bash scripts/clipfit/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options]; --help shows the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLIPFit "$@"
