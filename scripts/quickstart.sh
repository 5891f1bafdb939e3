#!/usr/bin/env bash
# Sets up .venv, then compares CLIPFit with zero-shot CLIP, base to new, on handwritten digits with the micro CLIP.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/quickstart.sh [--methods "A B ..."] [--seeds "1 2 3"] [options of scripts/base2new.sh]

Without arguments: CLIPFit beside zero-shot CLIP, 16 shots, seeds 1 2 3, on the handwritten digits and the micro CLIP
that come with the packages and this repository. Nothing but Python packages is downloaded.
HELP
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
METHODS="ZeroshotCLIP CLIPFit"
SEEDS="1 2 3"
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --methods | --seeds)
            [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            if [ "$1" = --methods ]; then METHODS=$2; else SEEDS=$2; fi
            shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
. scripts/setup.sh
setup requirements.txt
export PYTHON OUTPUT=${OUTPUT:-output/quickstart}

for method in $METHODS; do
    NO_TABLE=1 bash scripts/base2new.sh "$method" digits $SEEDS --quiet ${arguments[@]+"${arguments[@]}"}
done
echo
echo "Handwritten digits, trained on zero to four (Base), tested on these and on five to nine (New), accuracy in %:"
"$PYTHON" scripts/base2new_table.py "$OUTPUT"
echo
echo "Logs, checkpoints and result.json: $OUTPUT/train_base and $OUTPUT/test_new"
echo "Next: bash scripts/clipfit/base2new.sh --help, and README.md for real data and ViT-B/16"
