#!/usr/bin/env bash
# Base-to-new generalisation: trains on the first half of the classes, tests on both halves.
# bash scripts/base2new.sh METHOD [DATASET] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" base2new "$@"
