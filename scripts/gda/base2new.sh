#!/usr/bin/env bash
# GDA, base to new: bash scripts/gda/base2new.sh [DATASET] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../base2new.sh" GDA "$@"
