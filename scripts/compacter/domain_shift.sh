#!/usr/bin/env bash
# Compacter, distribution shift: bash scripts/compacter/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" Compacter "$@"
