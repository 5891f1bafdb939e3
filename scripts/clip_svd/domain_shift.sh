#!/usr/bin/env bash
# CLIP-SVD, distribution shift: bash scripts/clip_svd/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CLIPSVD "$@"
