#!/usr/bin/env bash
# Sets up .venv, then compares CLIPFit with zero-shot CLIP, base to new, on handwritten digits with the micro CLIP.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bash scripts/quickstart.sh [--methods "A B ..."] [--seeds "1 2 3"] [--jobs N] [options of scripts/base2new.sh]

  --methods    names, or all: every method there is, which takes some minutes
  --jobs       methods to run at a time (default: 1; with --methods all one a core)

Without arguments: CLIPFit beside zero-shot CLIP, 16 shots, seeds 1 2 3, on the handwritten digits and the micro CLIP
that come with the packages and this repository. Nothing but Python packages is downloaded.
HELP
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
METHODS="ZeroshotCLIP CLIPFit"
SEEDS="1 2 3"
JOBS=
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --methods | --seeds | --jobs)
            [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            case $1 in --methods) METHODS=$2 ;; --seeds) SEEDS=$2 ;; --jobs) JOBS=$2 ;; esac
            shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
. scripts/setup.sh
setup requirements.txt
export PYTHON OUTPUT=${OUTPUT:-output/quickstart}
if [ "$METHODS" = all ]; then
    METHODS=$("$PYTHON" tools/recipe.py --methods)
    JOBS=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
fi

JOBS=${JOBS:-1}
[[ $JOBS =~ ^[1-9][0-9]*$ ]] || { echo "error: --jobs must be a positive number, got $JOBS" >&2; exit 2; }
[ "$JOBS" -eq 1 ] || export PROGRESS=lines  # bars of several jobs would run into each other
printf '%s\n' $METHODS | NO_TABLE=1 xargs -P "$JOBS" -I{} \
    bash scripts/base2new.sh {} digits $SEEDS --quiet ${arguments[@]+"${arguments[@]}"}
echo
echo "Handwritten digits, trained on zero to four (Base), tested on these and on five to nine (New):"
"$PYTHON" tools/report.py "$OUTPUT"
echo "Logs, checkpoints and result.json: $OUTPUT/train_base and $OUTPUT/test_new"
echo "Next: bash scripts/clipfit/base2new.sh --help, and README.md for real data and ViT-B/16"
