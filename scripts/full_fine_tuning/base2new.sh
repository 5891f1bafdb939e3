#!/usr/bin/env bash
# Full fine-tuning, base to new: bash scripts/full_fine_tuning/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" FullFineTuning "$@"
