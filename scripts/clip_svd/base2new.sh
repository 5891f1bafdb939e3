#!/usr/bin/env bash
# CLIP-SVD, base to new: bash scripts/clip_svd/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CLIPSVD "$@"
