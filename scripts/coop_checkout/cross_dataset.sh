#!/usr/bin/env bash
# Cross-dataset transfer: train on all classes of one dataset (in the papers: ImageNet), test on ten other datasets.
set -euo pipefail

PROTOCOL=cross_dataset
DEFAULT_TARGETS="caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/options.sh
transfer "$@"
