#!/usr/bin/env bash
# LP++, base to new: bash scripts/lp_plus_plus/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" LPPlusPlus "$@"
