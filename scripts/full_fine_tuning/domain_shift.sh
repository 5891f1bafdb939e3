#!/usr/bin/env bash
# Full fine-tuning, distribution shift: bash scripts/full_fine_tuning/domain_shift.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../domain_shift.sh" FullFineTuning "$@"
