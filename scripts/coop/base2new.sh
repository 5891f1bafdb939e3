#!/usr/bin/env bash
# CoOp, base to new: bash scripts/coop/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CoOp "$@"
