#!/usr/bin/env bash
# Measures on a GPU what benchmarks/README.md lists as open, with a time limit for each part.
set -uo pipefail

usage() {
    cat <<'HELP'
Usage: bash benchmarks/gpu.sh OUT [PART ...]

  OUT      folder for the outputs: one file per part, and summary.txt with the exit codes and seconds
  PART     parts to run (default: all, in this order):
             tests        those that need a GPU (pytest --cuda), in eight processes
             steps        training steps, ours, plain and roofline: batch 32, 100 and 1,000 classes, fp16 and bf16
             steps128     ours and roofline at batch 128
             methods      a training step of eight methods, fp16
             evaluation   20,000 images in fp16
             loading      JPEGs of 500x375, with 8 and 16 worker processes
             table1       estimate of CLIPFit's row of Table 1, with 1 and 3 jobs at a time

Each part has a time limit; together they take less than 15 minutes. SIZE=tiny runs the same programs on a tiny CLIP with
few images, also on the CPU, to try the script (all but the tests).
PYTHON sets the interpreter (default: .venv/bin/python, else python).
HELP
}

case ${1:-} in
    "" | --help | -h) usage; exit 0 ;;
esac
mkdir -p "$1" || exit 1
OUT=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}

methods=(CLIPFit CoOp CoCoOp KgCoOp ProGrad MaPLe CLIP_Adapter TipAdapterF)
if [ "${SIZE:-}" = tiny ]; then
    size=(--size tiny) precisions=(bf16) precision=bf16 classes=(5 60) most=60 methods=(CLIPFit CoOp)
    evaluation=(--images 200 --classes 20) loading=(--images 64 --epochs 1 --others 0 --workers 2)
    table1=(--classes 4 --steps 2 --images 16 --jobs 2)
else
    size=(--size ViT-B/16) precisions=(fp16 bf16) precision=fp16 classes=(100 1000) most=1000
    evaluation=(--images 20000) loading=(--epochs 2 --others 8 16 --workers 16)
    table1=()
fi
steps=(steps.py --rounds 1 --precision "${precisions[@]}" --classes "${classes[@]}" "${size[@]}")

# Sets `limit` (seconds) and `command` for a part
choose() {
    case $1 in
        tests) limit=210 command=(-m pytest -q --cuda -n 8 --dist worksteal tests/cuda) ;;
        steps) limit=180 command=("${steps[@]}" --batch 32 --plain "$most") ;;
        steps128) limit=120 command=("${steps[@]}" --batch 128 --plain 0) ;;
        methods) limit=100 command=(methods.py --precision "$precision" "${size[@]}" --methods "${methods[@]}") ;;
        evaluation) limit=60 command=(evaluation.py --rounds 1 --precision "$precision" "${size[@]}" "${evaluation[@]}") ;;
        loading) limit=60 command=(loading.py "${loading[@]}") ;;
        table1) limit=150 command=(table1.py "$OUT/runs" "${size[@]}" "${table1[@]}") ;;
        *) echo "Unknown part: $1. bash benchmarks/gpu.sh --help lists them" >&2; return 1 ;;
    esac
    [ "${command[0]}" = -m ] || command[0]=benchmarks/${command[0]}
}

[ $# -gt 0 ] || set -- tests steps steps128 methods evaluation loading table1
for name; do
    choose "$name" || exit 2
done
failed=0
for name; do
    choose "$name"
    started=$SECONDS
    timeout --kill-after=10 "$limit" "$PYTHON" "${command[@]}" > "$OUT/$name.txt" 2> "$OUT/$name.stderr.txt"
    code=$?
    [ $code = 0 ] || failed=1
    note=""
    [ $code = 124 ] && note=" (its limit of $limit s)"
    echo "$name: exit code $code after $((SECONDS - started)) s$note" | tee -a "$OUT/summary.txt"
    tail -n 40 "$OUT/$name.txt"
done
exit $failed
