#!/usr/bin/env bash
# ProGrad, distribution shift: bash scripts/prograd/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" ProGrad "$@"
