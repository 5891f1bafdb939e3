#!/usr/bin/env bash
# 2SFS, distribution shift: bash scripts/two_stage/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" TwoStage "$@"
