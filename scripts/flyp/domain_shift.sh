#!/usr/bin/env bash
# FLYP, distribution shift: bash scripts/flyp/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" FLYP "$@"
