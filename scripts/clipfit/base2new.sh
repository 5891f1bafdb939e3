#!/usr/bin/env bash
# CLIPFit, base to new: bash scripts/clipfit/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CLIPFit "$@"
