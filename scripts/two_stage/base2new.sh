#!/usr/bin/env bash
# 2SFS, base to new: bash scripts/two_stage/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" TwoStage "$@"
