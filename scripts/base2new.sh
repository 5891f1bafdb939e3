#!/usr/bin/env bash
# Base-to-new generalization: trains on the base classes, tests on the base and on the new classes.
# bash scripts/base2new.sh METHOD [DATASET] [SEED ...] [options]; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" base2new "$@"
