#!/usr/bin/env bash
# Base-to-new generalisation: train on the first half of the classes, evaluate on both halves, print Base, New and H.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/base2new.sh METHOD [DATASET] [SEED ...] [options] [-- KEY VALUE ...]

  METHOD           CLIPFit, CoOp, MaPLe, ... (a folder under configs/trainers)
  DATASET          name of a file under configs/datasets (default: digits, which needs no download)
  SEED ...         default: 1 2 3
HELP
    options_help "OUTPUT/train_base/DATASET/shots_N/METHOD/CONFIG/seedS (trained and tested on base)
and OUTPUT/test_new/... (tested on new)"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROTOCOL=base2new
. scripts/options.sh
parse_options "$@"

METHOD=${POSITIONAL[0]:-}
DATASET=${POSITIONAL[1]:-digits}
SEEDS=("${POSITIONAL[@]:2}")
[ ${#SEEDS[@]} -gt 0 ] || SEEDS=(1 2 3)
choose_config

runs=()
for seed in "${SEEDS[@]}"; do
    common=$DATASET/shots_$SHOTS/$METHOD/$LABEL/seed$seed
    train_py "$METHOD base, seed $seed" "$DATASET" --seed "$seed" --output-dir "$OUTPUT/train_base/$common" \
        DATASET.SUBSAMPLE_CLASSES base
    train_py "$METHOD new, seed $seed" "$DATASET" --seed "$seed" --output-dir "$OUTPUT/test_new/$common" \
        --eval-only --model-dir "$OUTPUT/train_base/$common" DATASET.SUBSAMPLE_CLASSES new
    runs+=("$OUTPUT/train_base/$common" "$OUTPUT/test_new/$common")
done

print_table --protocol base2new -- "${runs[@]}"
