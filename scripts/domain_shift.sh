#!/usr/bin/env bash
# Distribution shift: trains on ImageNet and tests on ImageNetV2, ImageNet-Sketch, ImageNet-A and ImageNet-R.
# bash scripts/domain_shift.sh METHOD [SOURCE] [SEED ...] [options]; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" domain_shift "$@"
