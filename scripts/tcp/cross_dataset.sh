#!/usr/bin/env bash
# TCP, cross-dataset: bash scripts/tcp/cross_dataset.sh [SOURCE] [SEED ...] [options] (see --help)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" TCP "$@"
