#!/usr/bin/env bash
# CLIPFit, distribution shift: bash scripts/clipfit/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CLIPFit "$@"
