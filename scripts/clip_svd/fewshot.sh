#!/usr/bin/env bash
# CLIP-SVD, few-shot: bash scripts/clip_svd/fewshot.sh [DATASET] [SHOTS] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../fewshot.sh" CLIPSVD "$@"
