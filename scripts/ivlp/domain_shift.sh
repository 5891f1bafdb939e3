#!/usr/bin/env bash
# IVLP, distribution shift: bash scripts/ivlp/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" IVLP "$@"
