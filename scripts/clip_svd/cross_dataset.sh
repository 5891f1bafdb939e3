#!/usr/bin/env bash
# CLIP-SVD, cross-dataset: bash scripts/clip_svd/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CLIPSVD "$@"
