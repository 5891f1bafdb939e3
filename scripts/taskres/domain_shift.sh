#!/usr/bin/env bash
# TaskRes, distribution shift: bash scripts/taskres/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" TaskRes "$@"
