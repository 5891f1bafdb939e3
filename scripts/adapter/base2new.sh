#!/usr/bin/env bash
# Adapter, base to new: bash scripts/adapter/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" Adapter "$@"
