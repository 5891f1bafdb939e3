#!/usr/bin/env bash
# CLIPFit, base to new: bash scripts/clipfit/base2new.sh [DATASET] [SEED ...] [options]; --help shows the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" CLIPFit "$@"
