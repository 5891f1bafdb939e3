#!/usr/bin/env bash
# CLIP-Adapter, distribution shift: bash scripts/clip_adapter/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CLIP_Adapter "$@"
