#!/usr/bin/env bash
# Adapter, distribution shift: bash scripts/adapter/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" Adapter "$@"
