#!/usr/bin/env bash
# IVLP, base to new: bash scripts/ivlp/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" IVLP "$@"
