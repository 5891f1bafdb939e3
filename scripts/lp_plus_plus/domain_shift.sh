#!/usr/bin/env bash
# LP++, distribution shift: bash scripts/lp_plus_plus/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" LPPlusPlus "$@"
