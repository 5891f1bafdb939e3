#!/usr/bin/env bash
# CLIP-Adapter, base to new: bash scripts/clip_adapter/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CLIP_Adapter "$@"
