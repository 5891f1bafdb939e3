#!/usr/bin/env bash
# ProGrad, base to new: bash scripts/prograd/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" ProGrad "$@"
