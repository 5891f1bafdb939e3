# Functions of CLIPFit's scripts in a CoOp checkout: parse options, look up the recipe, run train.py.
# All hyper-parameters are in configs/recipes.yaml and in the config named there. The scripts print them.

options_help() {  # options_help FOLDERS: prints the options that all scripts share
    cat <<HELP

Options (an environment variable in brackets sets the same value as its option):
  --data DIR       folder with the datasets in CoOp's layout [DATA] (default: data)
  --shots N        training images per class [SHOTS] (default: 16)
  --backbone NAME  CLIP model: an OpenAI name such as ViT-B/16, or a path [BACKBONE] (default: ViT-B/16)
  --config NAME    YAML file in configs/trainers/CLIPFit, without .yaml [CFG] (default: from configs/recipes.yaml)
  --best-val       test the epoch with the best validation accuracy, not the last epoch [BEST_VAL]
  --output DIR     output folder [OUTPUT] (default: output/$PROTOCOL)
  --quiet          show a progress bar instead of the logs [QUIET]
  --help           show this help
  -- KEY VALUE     config keys for train.py, e.g. -- TRAINER.CLIPFIT.BETA 2.0

Logs, checkpoints and result.json are written to
$1.
With --best-val, CONFIG ends in _best_val. After an interruption, the same command resumes.
bash scripts/$PROTOCOL.sh CLIPFit ... is the same command.
HELP
}

fail() {
    echo "error: $*" >&2
    exit 2
}

# parse_options CLIPFit ARGUMENT ...: parses the command line. The caller sets PROTOCOL and `usage`.
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
        fail "the method must be CLIPFit, got '${POSITIONAL[0]:-}'; use the scripts of this checkout for other methods"
    [ -z "$TARGETS" ] || [[ $PROTOCOL =~ cross_dataset|domain_shift ]] ||
        fail "--targets has no effect with $PROTOCOL, only with cross_dataset and domain_shift"
    [[ $SHOTS =~ ^[1-9][0-9]*$ ]] || fail "--shots must be a positive integer, got '$SHOTS'"
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python3
        [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
    fi
}

names_in() {  # names_in configs/datasets: prints the names of the YAML files there, without .yaml
    local files=("$1"/*.yaml)
    files=("${files[@]##*/}")
    echo "${files[@]%.yaml}"
}

check_dataset() {
    [ -n "$1" ] || fail "missing DATASET, must be one of: $(names_in configs/datasets)"
    [ -f "configs/datasets/$1.yaml" ] || fail "unknown dataset '$1', must be one of: $(names_in configs/datasets)"
}

choose_config() {  # checks DATASET and SEEDS; sets CFG (unless given by --config), RECIPE (config keys) and LABEL
    local seed recipe line folder=configs/trainers/CLIPFit
    RECIPE=()
    check_dataset "$DATASET"
    [ ${#SEEDS[@]} -gt 0 ] || SEEDS=(1 2 3)
    for seed in "${SEEDS[@]}"; do
        [[ $seed =~ ^[0-9]+$ ]] || fail "SEED must be a positive integer, got '$seed'"
        [ "$seed" != 0 ] || fail "SEED must not be 0: CoOp's train.py would run without a seed"
    done
    if [ -z "$CFG" ]; then
        recipe=$("$PYTHON" tools/recipe.py CLIPFit "$PROTOCOL" "$DATASET" --shots "$SHOTS" --backbone "$BACKBONE") ||
            exit 2
        while IFS= read -r line; do
            if [ -z "$CFG" ]; then CFG=$line; else RECIPE+=("$line"); fi
        done <<< "$recipe"
    fi
    [ -f "$folder/$CFG.yaml" ] || fail "unknown config '$CFG', must be one of: $(names_in "$folder")"
    LABEL=$CFG
    if [ -n "$BEST_VAL" ]; then
        LABEL=${CFG}_best_val
        RECIPE+=(TEST.FINAL_MODEL best_val)
    fi
    echo "CLIPFit on $DATASET: $folder/$CFG.yaml${RECIPE[*]:+ with ${RECIPE[*]}}"
    echo "backbone $BACKBONE, $SHOTS shots, seeds ${SEEDS[*]}"
}

train_py() {  # train_py TITLE DATASET FLAG ... [KEY VALUE ...]: runs train.py once
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

  SOURCE           training dataset: name of a file in configs/datasets (default: imagenet)
  SEED ...         seeds (default: 1 2 3)
  --targets        datasets to test on in addition to SOURCE; NAME=DIR if a dataset is in another data folder [TARGETS]
                   (default: $DEFAULT_TARGETS)
HELP
    options_help "OUTPUT/train/SOURCE/shots_N/CLIPFit/CONFIG/seedS (trained and tested on SOURCE)
and OUTPUT/test/SOURCE/TARGET/... (tested on TARGET)"
}

transfer() {  # transfer ARGUMENT ...: trains on all classes of SOURCE, tests on --targets (default: DEFAULT_TARGETS)
    local seed run target name data names=() runs=()
    usage() { transfer_help; }
    parse_options "$@"
    DATASET=${POSITIONAL[1]:-imagenet}
    SEEDS=("${POSITIONAL[@]:2}")
    set -- ${TARGETS:-$DEFAULT_TARGETS}
    for target; do
        name=${target%%=*}
        check_dataset "$name"
        [[ " ${names[*]-} " != *" $name "* ]] || fail "duplicate dataset $name in --targets"
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
            # NAME=DIR: this dataset is in the data folder DIR.
            data=$([ "$target" = "$name" ] && echo "$DATA" || echo "${target#*=}")
            DATA=$data train_py "CLIPFit, $DATASET to $name, seed $seed" "$name" --seed "$seed" \
                --output-dir "$OUTPUT/test/$DATASET/$name/$run" --eval-only --model-dir "$OUTPUT/train/$DATASET/$run"
            runs+=("$OUTPUT/test/$DATASET/$name/$run")
        done
    done
    print_results "${runs[@]}"
}

print_results() {  # print_results RUN ...: prints mean and standard deviation over seeds, with parse_test_res.py
    if [ ! -f parse_test_res.py ]; then
        echo "Missing parse_test_res.py, which computes the mean over seeds. Results are in log.txt and result.json in:"
        printf '    %s\n' "$@"
        return
    fi
    dirname -- "$@" | sort -u | while IFS= read -r folder; do
        "$PYTHON" parse_test_res.py "$folder" --test-log || echo "warning: parse_test_res.py failed for $folder" >&2
    done
}
