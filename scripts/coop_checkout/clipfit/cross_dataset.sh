#!/usr/bin/env bash
# CLIPFit, cross-dataset: bash scripts/clipfit/cross_dataset.sh [SOURCE] [SEED ...] [options]; --help shows the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../cross_dataset.sh" CLIPFit "$@"
