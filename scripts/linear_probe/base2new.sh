#!/usr/bin/env bash
# Linear probe, base to new: bash scripts/linear_probe/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" LinearProbe "$@"
