#!/usr/bin/env bash
# MMRL, base to new: bash scripts/mmrl/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" MMRL "$@"
