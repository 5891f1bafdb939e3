#!/usr/bin/env bash
# Distribution shift: train on ImageNet and test on other images of the same classes: V2, Sketch, A and R.
set -euo pipefail

PROTOCOL=domain_shift
SHIFTED="imagenetv2 imagenet_sketch imagenet_a imagenet_r"

usage() {
    cat <<HELP
Usage: bash scripts/domain_shift.sh METHOD [SOURCE] [SEED ...] [--targets "A B ..."] [options] [-- KEY VALUE ...]

  METHOD           CLIPFit, CoOp, MaPLe, ... (a folder under configs/trainers)
  SOURCE           dataset to train on: name of a file under configs/datasets (default: imagenet)
  SEED ...         default: 1 2 3
  --targets        datasets to test on besides SOURCE, each NAME, or NAME=DIR for one in a folder of its own [TARGETS]
                   (default: $SHIFTED)
HELP
    options_help "OUTPUT/train/SOURCE/shots_N/METHOD/CONFIG/seedS (trained and tested on SOURCE)
and OUTPUT/test/SOURCE/TARGET/... (tested on TARGET)"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/options.sh
parse_options "$@"
transfer $SHIFTED
