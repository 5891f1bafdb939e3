#!/usr/bin/env bash
# MMRL++, base to new: bash scripts/mmrlpp/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" MMRLPP "$@"
