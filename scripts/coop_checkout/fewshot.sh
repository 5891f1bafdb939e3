#!/usr/bin/env bash
# Few-shot learning: train and test on all classes, print the mean accuracy over seeds.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/clipfit/fewshot.sh DATASET [SHOTS] [SEED ...] [options] [-- KEY VALUE ...]

  DATASET          training dataset: name of a file in configs/datasets
  SHOTS            training images per class (default: 16)
  SEED ...         seeds (default: 1 2 3)
HELP
    options_help "OUTPUT/DATASET/shots_N/CLIPFit/CONFIG/seedS"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROTOCOL=fewshot
. scripts/options.sh
parse_options "$@"

DATASET=${POSITIONAL[1]:-}
SHOTS=${POSITIONAL[2]:-$SHOTS}
SEEDS=("${POSITIONAL[@]:3}")
[[ $SHOTS =~ ^[1-9][0-9]*$ ]] || fail "SHOTS must be a positive integer, got '$SHOTS'"
choose_config

runs=()
for seed in "${SEEDS[@]}"; do
    run=$OUTPUT/$DATASET/shots_$SHOTS/CLIPFit/$LABEL/seed$seed
    train_py "CLIPFit $SHOTS shots, seed $seed" "$DATASET" --seed "$seed" --output-dir "$run"
    runs+=("$run")
done

print_results "${runs[@]}"
