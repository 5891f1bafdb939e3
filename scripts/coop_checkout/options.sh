# Sourced by CLIPFit's scripts in a CoOp checkout: their options, the choice of a recipe, and one run of train.py.
# No hyper-parameter is hidden here: all are in configs/recipes.yaml and the YAML chosen there, and are printed.

options_help() {  # for the usage of every script; $1: where runs go
    cat <<HELP

Options, or the environment variables in brackets:
  --data DIR       folder with the datasets in CoOp's layout [DATA] (default: data)
  --shots N        training images per class [SHOTS] (default: 16)
  --backbone NAME  an OpenAI name such as ViT-B/16, or the path of a checkpoint [BACKBONE] (default: ViT-B/16)
  --config NAME    a file under configs/trainers/CLIPFit, without .yaml [CFG] (default: as configs/recipes.yaml says)
  --best-val       keep the epoch that is best on validation images, not the last [BEST_VAL]
  --output DIR     [OUTPUT] (default: output/$PROTOCOL)
  --quiet          one progress bar per run instead of the whole log [QUIET]
  --help           this text
  -- KEY VALUE     more config keys, as train.py takes them, e.g. -- TRAINER.CLIPFIT.BETA 2.0

Logs, checkpoints and result.json go to
$1.
With --best-val CONFIG ends in _best_val. Started again, it continues where it stopped.
bash scripts/$PROTOCOL.sh CLIPFit ... is the same command.
HELP
}

fail() {
    echo "error: $*" >&2
    exit 2
}

# Called with CLIPFit and the user's arguments. The caller sets PROTOCOL and `usage`.
# Sets DATA SHOTS BACKBONE CFG OUTPUT QUIET BEST_VAL TARGETS PYTHON, and the arrays EXTRA and POSITIONAL (CLIPFit first).
parse_options() {
    DATA=${DATA:-data} SHOTS=${SHOTS:-16} BACKBONE=${BACKBONE:-ViT-B/16} CFG=${CFG:-} OUTPUT=${OUTPUT:-output/$PROTOCOL}
    QUIET=${QUIET:-} BEST_VAL=${BEST_VAL:-} TARGETS=${TARGETS:-}
    POSITIONAL=() EXTRA=()
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --quiet) QUIET=1; shift ;;
            --best-val) BEST_VAL=1; shift ;;
            --) shift; EXTRA=("$@"); break ;;
            --data | --shots | --backbone | --config | --output | --targets)
                [ $# -gt 1 ] || fail "$1 needs a value (see --help)"
                case $1 in
                    --data) DATA=$2 ;;
                    --shots) SHOTS=$2 ;;
                    --backbone) BACKBONE=$2 ;;
                    --config) CFG=$2 ;;
                    --output) OUTPUT=$2 ;;
                    --targets) TARGETS=$2 ;;
                esac
                shift 2 ;;
            -*) fail "unknown option $1 (see --help)" ;;
            *) POSITIONAL+=("$1"); shift ;;
        esac
    done
    [ "${POSITIONAL[0]:-}" = CLIPFit ] ||
        fail "the method must be CLIPFit, got '${POSITIONAL[0]:-}'; other methods have scripts of their own here"
    [ -z "$TARGETS" ] || [[ $PROTOCOL =~ cross_dataset|domain_shift ]] ||
        fail "--targets is for cross_dataset and domain_shift, not for $PROTOCOL"
    [[ $SHOTS =~ ^[1-9][0-9]*$ ]] || fail "--shots must be a positive number, got '$SHOTS'"
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python3
        [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
    fi
}

names_in() {  # names_in configs/datasets: the YAML files there, without their ending
    local files=("$1"/*.yaml)
    files=("${files[@]##*/}")
    echo "${files[@]%.yaml}"
}

check_dataset() {
    [ -n "$1" ] || fail "DATASET is missing; there are: $(names_in configs/datasets)"
    [ -f "configs/datasets/$1.yaml" ] || fail "unknown dataset '$1'; there are: $(names_in configs/datasets)"
}

choose_config() {  # checks DATASET and SEEDS; sets LABEL, RECIPE and, unless --config gave it, CFG
    local seed chosen line folder=configs/trainers/CLIPFit
    RECIPE=()
    check_dataset "$DATASET"
    [ ${#SEEDS[@]} -gt 0 ] || SEEDS=(1 2 3)
    for seed in "${SEEDS[@]}"; do
        [[ $seed =~ ^[0-9]+$ ]] || fail "seeds are numbers, got '$seed'"
        [ "$seed" != 0 ] || fail "CoOp's train.py takes seed 0 for no seed; take another"
    done
    if [ -z "$CFG" ]; then
        chosen=$("$PYTHON" tools/recipe.py CLIPFit "$PROTOCOL" "$DATASET" --shots "$SHOTS" --backbone "$BACKBONE") ||
            exit 2
        while IFS= read -r line; do
            if [ -z "$CFG" ]; then CFG=$line; else RECIPE+=("$line"); fi
        done <<< "$chosen"
    fi
    [ -f "$folder/$CFG.yaml" ] || fail "unknown config '$CFG' for CLIPFit; there are: $(names_in "$folder")"
    LABEL=$CFG
    if [ -n "$BEST_VAL" ]; then
        LABEL=${CFG}_best_val
        RECIPE+=(TEST.FINAL_MODEL best_val)
    fi
    echo "CLIPFit on $DATASET: $folder/$CFG.yaml${RECIPE[*]:+ with ${RECIPE[*]}}"
    echo "backbone $BACKBONE, $SHOTS shots, seeds ${SEEDS[*]}"
}

train_py() {  # train_py TITLE DATASET FLAG ... [KEY VALUE ...]: one run
    local title=$1 dataset=$2
    shift 2
    set -- "$PYTHON" train.py --root "$DATA" --trainer CLIPFit --backbone "$BACKBONE" \
        --dataset-config-file "configs/datasets/$dataset.yaml" \
        --config-file "configs/trainers/CLIPFit/$CFG.yaml" "$@" DATASET.NUM_SHOTS "$SHOTS" \
        ${RECIPE[@]+"${RECIPE[@]}"} ${EXTRA[@]+"${EXTRA[@]}"}
    if [ -n "$QUIET" ]; then
        TQDM_DISABLE=1 "$@" | "$PYTHON" scripts/progress.py "$title"
    else
        echo "== $title"
        "$@"
    fi
}

transfer_help() {
    cat <<HELP
Usage: bash scripts/clipfit/$PROTOCOL.sh [SOURCE] [SEED ...] [--targets "A B ..."] [options] [-- KEY VALUE ...]

  SOURCE           dataset to train on: name of a file under configs/datasets (default: imagenet)
  SEED ...         default: 1 2 3
  --targets        datasets to test on besides SOURCE, each NAME, or NAME=DIR for one in a folder of its own [TARGETS]
                   (default: $DEFAULT_TARGETS)
HELP
    options_help "OUTPUT/train/SOURCE/shots_N/CLIPFit/CONFIG/seedS (trained and tested on SOURCE)
and OUTPUT/test/SOURCE/TARGET/... (tested on TARGET)"
}

transfer() {  # transfer ARGUMENT ...: train on all classes of one dataset, test on --targets, else on DEFAULT_TARGETS
    local seed run target name data names=() runs=()
    usage() { transfer_help; }
    parse_options "$@"
    DATASET=${POSITIONAL[1]:-imagenet}
    SEEDS=("${POSITIONAL[@]:2}")
    set -- ${TARGETS:-$DEFAULT_TARGETS}
    for target; do
        name=${target%%=*}
        check_dataset "$name"
        [[ " ${names[*]-} " != *" $name "* ]] || fail "--targets names $name twice"
        names+=("$name")
    done
    choose_config
    for seed in "${SEEDS[@]}"; do
        run=shots_$SHOTS/CLIPFit/$LABEL/seed$seed
        train_py "CLIPFit on $DATASET, seed $seed" "$DATASET" --seed "$seed" --output-dir "$OUTPUT/train/$DATASET/$run"
        runs+=("$OUTPUT/train/$DATASET/$run")
        for target; do
            [ "$target" != "$DATASET" ] || continue
            name=${target%%=*}
            # NAME=DIR: that dataset is in a folder of its own.
            data=$([ "$target" = "$name" ] && echo "$DATA" || echo "${target#*=}")
            DATA=$data train_py "CLIPFit, $DATASET to $name, seed $seed" "$name" --seed "$seed" \
                --output-dir "$OUTPUT/test/$DATASET/$name/$run" --eval-only --model-dir "$OUTPUT/train/$DATASET/$run"
            runs+=("$OUTPUT/test/$DATASET/$name/$run")
        done
    done
    print_results "${runs[@]}"
}

print_results() {  # print_results RUN ...: mean and standard deviation over the seeds, by the checkout's own script
    if [ ! -f parse_test_res.py ]; then
        echo "No parse_test_res.py here to print means over seeds; results are in log.txt and result.json of"
        printf '    %s\n' "$@"
        return
    fi
    dirname -- "$@" | sort -u | while IFS= read -r folder; do
        "$PYTHON" parse_test_res.py "$folder" --test-log || echo "warning: no result read in $folder" >&2
    done
}
