#!/usr/bin/env bash
# Linear probe, distribution shift: bash scripts/linear_probe/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" LinearProbe "$@"
