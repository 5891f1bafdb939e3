# Sourced by the scripts that run a protocol: their options, the choice of a recipe, and one run of train.py.
# No hyper-parameter is hidden here: all of them stand in configs/recipes.yaml and the YAML chosen there, and are printed.

fail() {
    echo "error: $*" >&2
    exit 2
}

# The caller sets PROTOCOL and `usage`; sets DATA SHOTS BACKBONE CFG OUTPUT QUIET, POSITIONAL and EXTRA.
parse_options() {
    DATA=${DATA:-data} SHOTS=${SHOTS:-16} BACKBONE=${BACKBONE:-} CFG=${CFG:-} OUTPUT=${OUTPUT:-output/$PROTOCOL}
    QUIET=${QUIET:-}
    POSITIONAL=() EXTRA=()
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --quiet) QUIET=1; shift ;;
            --) shift; EXTRA=("$@"); break ;;
            --data | --shots | --backbone | --config | --output)
                [ $# -gt 1 ] || fail "$1 needs a value (see --help)"
                case $1 in
                    --data) DATA=$2 ;;
                    --shots) SHOTS=$2 ;;
                    --backbone) BACKBONE=$2 ;;
                    --config) CFG=$2 ;;
                    --output) OUTPUT=$2 ;;
                esac
                shift 2 ;;
            -*) fail "unknown option $1 (see --help)" ;;
            *) POSITIONAL+=("$1"); shift ;;
        esac
    done
    [[ $SHOTS =~ ^[1-9][0-9]*$ ]] || fail "--shots must be a positive number, got $SHOTS"
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python3
        [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
    fi
}

names_in() {  # names_in configs/datasets: the YAML files there, without their ending
    local files=("$1"/*.yaml)
    files=("${files[@]##*/}")
    echo "${files[@]%.yaml}"
}

choose_config() {  # sets BACKBONE, and CFG and RECIPE from configs/recipes.yaml, where they are not given
    local seed chosen line folder=configs/trainers/$METHOD
    RECIPE=()
    [ -n "$METHOD" ] && [ -d "$folder" ] || fail "unknown method '$METHOD'; there are: $(ls configs/trainers | xargs)"
    [ -f "configs/datasets/$DATASET.yaml" ] || fail "unknown dataset '$DATASET'; there are: $(names_in configs/datasets)"
    for seed in "${SEEDS[@]}"; do
        [[ $seed =~ ^[0-9]+$ ]] || fail "seeds are numbers, got '$seed'"
    done
    if [ -z "$BACKBONE" ]; then
        BACKBONE=ViT-B/16
        [ "$DATASET" = digits ] && BACKBONE=micro
    fi
    if [ -z "$CFG" ]; then
        chosen=$("$PYTHON" scripts/recipe.py "$METHOD" "$PROTOCOL" "$DATASET" --shots "$SHOTS" --backbone "$BACKBONE") ||
            exit 2
        while IFS= read -r line; do
            if [ -z "$CFG" ]; then CFG=$line; else RECIPE+=("$line"); fi
        done <<< "$chosen"
    fi
    [ -f "$folder/$CFG.yaml" ] || fail "unknown config '$CFG' for $METHOD; there are: $(names_in "$folder")"
    echo "$METHOD on $DATASET: $folder/$CFG.yaml${RECIPE[*]:+ with ${RECIPE[*]}}"
    echo "backbone $BACKBONE, $SHOTS shots, seeds ${SEEDS[*]}"
}

train_py() {  # train_py TITLE FLAG ... [KEY VALUE ...]: one run
    local title=$1
    shift
    set -- "$PYTHON" train.py --root "$DATA" --trainer "$METHOD" --backbone "$BACKBONE" \
        --dataset-config-file "configs/datasets/$DATASET.yaml" \
        --config-file "configs/trainers/$METHOD/$CFG.yaml" "$@" DATASET.NUM_SHOTS "$SHOTS" \
        ${RECIPE[@]+"${RECIPE[@]}"} ${EXTRA[@]+"${EXTRA[@]}"}
    # The micro CLIP's matrices are so small that threads would only wait for one another.
    [ "$BACKBONE" != micro ] || export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    if [ -n "$QUIET" ]; then
        TQDM_DISABLE=1 "$@" | "$PYTHON" scripts/progress.py "$title"
    else
        echo "== $title"
        "$@"
    fi
}
