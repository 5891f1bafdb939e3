#!/usr/bin/env bash
# Few-shot learning: train and test on all classes, print the accuracy over seeds.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/fewshot.sh METHOD [DATASET] [SHOTS] [SEED ...] [options] [-- KEY VALUE ...]

  METHOD           CLIPFit, CoOp, TipAdapterF, ... (a folder under configs/trainers)
  DATASET          name of a file under configs/datasets (default: digits, which needs no download)
  SHOTS            training images a class (default: 16)
  SEED ...         default: 1 2 3
HELP
    options_help "OUTPUT/DATASET/shots_N/METHOD/CONFIG/seedS"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROTOCOL=fewshot
. scripts/options.sh
parse_options "$@"

METHOD=${POSITIONAL[0]:-}
DATASET=${POSITIONAL[1]:-digits}
SHOTS=${POSITIONAL[2]:-$SHOTS}
SEEDS=("${POSITIONAL[@]:3}")
[ ${#SEEDS[@]} -gt 0 ] || SEEDS=(1 2 3)
[[ $SHOTS =~ ^[1-9][0-9]*$ ]] || fail "SHOTS must be a positive number, got $SHOTS"
choose_config

runs=()
for seed in "${SEEDS[@]}"; do
    run=$OUTPUT/$DATASET/shots_$SHOTS/$METHOD/$LABEL/seed$seed
    train_py "$METHOD $SHOTS shots, seed $seed" "$DATASET" --seed "$seed" --output-dir "$run"
    runs+=("$run")
done

print_table --protocol fewshot -- "${runs[@]}"
