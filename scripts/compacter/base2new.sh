#!/usr/bin/env bash
# Compacter, base to new: bash scripts/compacter/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" Compacter "$@"
