#!/usr/bin/env bash
# ProLIP, distribution shift: bash scripts/prolip/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" ProLIP "$@"
