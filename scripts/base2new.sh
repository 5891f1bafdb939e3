#!/usr/bin/env bash
# Base-to-new generalisation: train on the first half of the classes, evaluate on both halves, print Base, New and H.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/base2new.sh METHOD [DATASET] [SEED ...] [options] [-- KEY VALUE ...]

  METHOD           CLIPFit, CoOp, MaPLe, ... (a folder under configs/trainers)
  DATASET          name of a file under configs/datasets (default: digits, which needs no download)
  SEED ...         default: 1 2 3

Options, or the environment variables in brackets:
  --data DIR       folder with the datasets in CoOp's layout [DATA] (default: data)
  --shots N        training images a class [SHOTS] (default: 16)
  --backbone NAME  micro, an OpenAI name such as ViT-B/16, or a path [BACKBONE]
                   (default: micro for digits, ViT-B/16 for any other dataset)
  --config NAME    a YAML of the method, without .yaml [CFG] (default: as configs/recipes.yaml says)
  --output DIR     [OUTPUT] (default: output/base2new)
  --quiet          one progress bar a run instead of the whole log
  --help           this text
  -- KEY VALUE     more config keys, as train.py takes them, e.g. -- TRAINER.CLIPFIT.BETA 2

Logs, checkpoints and result.json go to OUTPUT/train_base/DATASET/shots_N/METHOD/CONFIG/seedS (trained on base,
tested on base) and OUTPUT/test_new/... (tested on new). Started again, it continues where it stopped.
HELP
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
    common=$DATASET/shots_$SHOTS/$METHOD/$CFG/seed$seed
    train_py "$METHOD base, seed $seed" --seed "$seed" --output-dir "$OUTPUT/train_base/$common" \
        DATASET.SUBSAMPLE_CLASSES base
    train_py "$METHOD new, seed $seed" --seed "$seed" --output-dir "$OUTPUT/test_new/$common" \
        --eval-only --model-dir "$OUTPUT/train_base/$common" DATASET.SUBSAMPLE_CLASSES new
    runs+=("$OUTPUT/train_base/$common" "$OUTPUT/test_new/$common")
done

[ -n "${NO_TABLE:-}" ] || "$PYTHON" tools/report.py --no-files --protocol base2new -- "${runs[@]}"
