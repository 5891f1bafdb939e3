#!/usr/bin/env bash
# BitFit, distribution shift: bash scripts/bitfit/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" BitFit "$@"
