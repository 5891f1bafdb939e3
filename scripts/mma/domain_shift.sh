#!/usr/bin/env bash
# MMA, distribution shift: bash scripts/mma/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" MMA "$@"
