#!/usr/bin/env bash
# KgCoOp, base to new: bash scripts/kgcoop/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" KgCoOp "$@"
