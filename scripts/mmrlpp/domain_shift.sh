#!/usr/bin/env bash
# MMRL++, distribution shift: bash scripts/mmrlpp/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" MMRLPP "$@"
