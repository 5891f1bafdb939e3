#!/usr/bin/env bash
# CoCoOp, distribution shift: bash scripts/cocoop/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CoCoOp "$@"
