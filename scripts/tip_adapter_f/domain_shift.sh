#!/usr/bin/env bash
# Tip-Adapter-F, distribution shift: bash scripts/tip_adapter_f/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" TipAdapterF "$@"
