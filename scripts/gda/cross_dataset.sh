#!/usr/bin/env bash
# GDA, cross-dataset: bash scripts/gda/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" GDA "$@"
