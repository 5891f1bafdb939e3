#!/usr/bin/env bash
# CoCoOp, base to new: bash scripts/cocoop/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CoCoOp "$@"
