#!/usr/bin/env bash
# ProLIP, base to new: bash scripts/prolip/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" ProLIP "$@"
