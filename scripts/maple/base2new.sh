#!/usr/bin/env bash
# MaPLe, base to new: bash scripts/maple/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" MaPLe "$@"
