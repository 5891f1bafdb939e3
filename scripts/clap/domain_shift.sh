#!/usr/bin/env bash
# CLAP, distribution shift: bash scripts/clap/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CLAP "$@"
