#!/usr/bin/env bash
# MaPLe, distribution shift: bash scripts/maple/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" MaPLe "$@"
