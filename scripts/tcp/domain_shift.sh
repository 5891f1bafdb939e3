#!/usr/bin/env bash
# TCP, distribution shift: bash scripts/tcp/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" TCP "$@"
