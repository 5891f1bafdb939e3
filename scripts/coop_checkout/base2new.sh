#!/usr/bin/env bash
# Base-to-new generalization: train on the base classes (first half), test on the base and the new classes.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/clipfit/base2new.sh DATASET [SEED ...] [options] [-- KEY VALUE ...]

  DATASET          training dataset: name of a file in configs/datasets
  SEED ...         seeds (default: 1 2 3)
HELP
    options_help "OUTPUT/train_base/DATASET/shots_N/CLIPFit/CONFIG/seedS (trained and tested on base)
and OUTPUT/test_new/... (tested on new)"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROTOCOL=base2new
. scripts/options.sh
parse_options "$@"

DATASET=${POSITIONAL[1]:-}
SEEDS=("${POSITIONAL[@]:2}")
choose_config

runs=()
for seed in "${SEEDS[@]}"; do
    common=$DATASET/shots_$SHOTS/CLIPFit/$LABEL/seed$seed
    train_py "CLIPFit base, seed $seed" "$DATASET" --seed "$seed" --output-dir "$OUTPUT/train_base/$common" \
        DATASET.SUBSAMPLE_CLASSES base
    train_py "CLIPFit new, seed $seed" "$DATASET" --seed "$seed" --output-dir "$OUTPUT/test_new/$common" \
        --eval-only --model-dir "$OUTPUT/train_base/$common" DATASET.SUBSAMPLE_CLASSES new
    runs+=("$OUTPUT/train_base/$common" "$OUTPUT/test_new/$common")
done

print_results "${runs[@]}"
