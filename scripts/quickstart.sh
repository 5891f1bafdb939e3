#!/usr/bin/env bash
# Sets up .venv and compares CLIPFit with zero-shot CLIP: base to new on handwritten digits, with the micro CLIP.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/quickstart.sh [--methods NAME ...] [--seeds N ...] [--jobs N] [options of tools/sweep.py]

  --methods    CLIPFit, CoOp, MaPLe, ..., or all (default: ZeroshotCLIP CLIPFit)
  --seeds      seeds (default: 1 2 3)
  --jobs       runs at a time (default: one per core)

Compares CLIPFit with zero-shot CLIP on handwritten digits with the micro CLIP: 16 shots, seeds 1 2 3. The digits come
with scikit-learn and the micro CLIP with this repository, so only Python packages are downloaded. Results are in
output/quickstart (set OUTPUT to change it). The same command again resumes unfinished runs.
HELP
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
for argument; do
    case $argument in
        --help | -h) usage; exit 0 ;;
        --) break ;;
    esac
done
. scripts/setup.sh
setup requirements.txt requirements-report.txt requirements-fast.txt
echo "Handwritten digits: trained on zero to four (Base), tested on these and on five to nine (New)"
"$PYTHON" tools/sweep.py base2new --methods ZeroshotCLIP CLIPFit --output "${OUTPUT:-output/quickstart}" "$@"
echo
echo "Next: bash scripts/clipfit/base2new.sh --help, and README.md for real data and ViT-B/16"
