#!/usr/bin/env bash
# Distribution shift: train on ImageNet, test on its variants V2, Sketch, A and R.
set -euo pipefail

PROTOCOL=domain_shift
DEFAULT_TARGETS="imagenetv2 imagenet_sketch imagenet_a imagenet_r"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/options.sh
transfer "$@"
