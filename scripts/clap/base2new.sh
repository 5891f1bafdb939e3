#!/usr/bin/env bash
# CLAP, base to new: bash scripts/clap/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CLAP "$@"
