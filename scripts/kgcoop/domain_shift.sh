#!/usr/bin/env bash
# KgCoOp, distribution shift: bash scripts/kgcoop/domain_shift.sh [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" KgCoOp "$@"
