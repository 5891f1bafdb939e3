#!/usr/bin/env bash
# TCP, base to new: bash scripts/tcp/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" TCP "$@"
