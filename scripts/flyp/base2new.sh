#!/usr/bin/env bash
# FLYP, base to new: bash scripts/flyp/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" FLYP "$@"
