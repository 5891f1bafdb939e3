#!/usr/bin/env bash
# ProGrad, distribution shift: bash scripts/prograd/domain_shift.sh [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" ProGrad "$@"
