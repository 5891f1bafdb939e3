#!/usr/bin/env bash
# KgCoOp, distribution shift: bash scripts/kgcoop/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" KgCoOp "$@"
