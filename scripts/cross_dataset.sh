#!/usr/bin/env bash
# Cross-dataset transfer: train on all classes of one dataset, ImageNet in the literature, and test on ten others.
set -euo pipefail

PROTOCOL=cross_dataset
OTHERS="caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"

usage() {
    cat <<HELP
Usage: bash scripts/cross_dataset.sh METHOD [SOURCE] [SEED ...] [--targets "A B ..."] [options] [-- KEY VALUE ...]

  METHOD           CLIPFit, CoOp, MaPLe, ... (a folder under configs/trainers)
  SOURCE           dataset to train on: name of a file under configs/datasets (default: imagenet)
  SEED ...         default: 1 2 3
  --targets        datasets to test on besides SOURCE, each NAME, or NAME=DIR for one in a folder of its own [TARGETS]
                   (default: $OTHERS)
HELP
    options_help "OUTPUT/train/SOURCE/shots_N/METHOD/CONFIG/seedS (trained and tested on SOURCE)
and OUTPUT/test/SOURCE/TARGET/... (tested on TARGET)"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/options.sh
parse_options "$@"
transfer $OTHERS
