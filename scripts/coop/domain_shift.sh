#!/usr/bin/env bash
# CoOp, distribution shift: bash scripts/coop/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CoOp "$@"
