#!/usr/bin/env bash
# CLIPFit, distribution shift: bash scripts/clipfit/domain_shift.sh [SOURCE] [SEED ...] [options]; --help shows the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" CLIPFit "$@"
