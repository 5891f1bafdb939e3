#!/usr/bin/env bash
# TaskRes, base to new: bash scripts/taskres/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" TaskRes "$@"
