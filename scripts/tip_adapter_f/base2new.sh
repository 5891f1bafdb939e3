#!/usr/bin/env bash
# Tip-Adapter-F, base to new: bash scripts/tip_adapter_f/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" TipAdapterF "$@"
