#!/usr/bin/env bash
# Sets up .venv, then compares CLIPFit with zero-shot CLIP, base to new, on handwritten digits with the micro CLIP.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/quickstart.sh [--methods NAME ...] [--seeds N ...] [--jobs N] [options of tools/sweep.py]

  --methods    CLIPFit, CoOp, MaPLe, ..., or all (default: ZeroshotCLIP CLIPFit)
  --seeds      default: 1 2 3
  --jobs       runs at a time (default: one a core)

Without arguments: CLIPFit beside zero-shot CLIP, 16 shots, seeds 1 2 3, on the handwritten digits and the micro CLIP
that come with the packages and this repository. Nothing but Python packages is downloaded. Results go to
output/quickstart [OUTPUT]; started again, it goes on where it stopped.
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
