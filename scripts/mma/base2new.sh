#!/usr/bin/env bash
# MMA, base to new: bash scripts/mma/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" MMA "$@"
