#!/usr/bin/env bash
# GDA, distribution shift: bash scripts/gda/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" GDA "$@"
