#!/usr/bin/env bash
# CoCoOp, base to new: bash scripts/cocoop/base2new.sh [DATASET] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CoCoOp "$@"
