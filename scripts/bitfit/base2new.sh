#!/usr/bin/env bash
# BitFit, base to new: bash scripts/bitfit/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" BitFit "$@"
