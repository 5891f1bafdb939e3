#!/usr/bin/env bash
# Distribution shift: trains on ImageNet and tests on other images of its classes: V2, Sketch, A and R.
# bash scripts/domain_shift.sh METHOD [SOURCE] [SEED ...] [options]; --help tells the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" domain_shift "$@"
