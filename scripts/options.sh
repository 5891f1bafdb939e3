# Sourced by the scripts that run a protocol: their options, the choice of a recipe, and one run of train.py.
# No hyper-parameter is hidden here: all of them stand in configs/recipes.yaml and the YAML chosen there, and are printed.

options_help() {  # for the usage of every script; $1: where runs go
    cat <<HELP

Options, or the environment variables in brackets:
  --data DIR       folder with the datasets in CoOp's layout [DATA] (default: data)
  --shots N        training images a class [SHOTS] (default: 16)
  --backbone NAME  micro, an OpenAI name such as ViT-B/16, or a path [BACKBONE]
                   (default: micro for digits, ViT-B/16 for any other dataset)
  --config NAME    a YAML of the method, without .yaml [CFG] (default: as configs/recipes.yaml says)
  --best-val       keep the epoch that is best on validation images, not the last [BEST_VAL]
  --output DIR     [OUTPUT] (default: output/$PROTOCOL)
  --quiet          one progress bar a run instead of the whole log [QUIET]
  --help           this text
  -- KEY VALUE     more config keys, as train.py takes them, e.g. -- TRAINER.CLIPFIT.BETA 2.0

Logs, checkpoints and result.json go to
$1.
With --best-val CONFIG ends in _best_val. Started again, it continues where it stopped.
HELP
}

transfer_help() {  # usage of the scripts that call `transfer`; $1: its default targets
    cat <<HELP
Usage: bash scripts/$PROTOCOL.sh METHOD [SOURCE] [SEED ...] [--targets "A B ..."] [options] [-- KEY VALUE ...]

  METHOD           CLIPFit, CoOp, MaPLe, ... (a folder under configs/trainers)
  SOURCE           dataset to train on: name of a file under configs/datasets (default: imagenet)
  SEED ...         default: 1 2 3
  --targets        datasets to test on besides SOURCE, each NAME, or NAME=DIR for one in a folder of its own [TARGETS]
                   (default: $1)
HELP
    options_help "OUTPUT/train/SOURCE/shots_N/METHOD/CONFIG/seedS (trained and tested on SOURCE)
and OUTPUT/test/SOURCE/TARGET/... (tested on TARGET)"
}

fail() {
    echo "error: $*" >&2
    exit 2
}

# The caller sets PROTOCOL and `usage`; sets DATA SHOTS BACKBONE CFG OUTPUT QUIET TARGETS, POSITIONAL and EXTRA.
parse_options() {
    DATA=${DATA:-data} SHOTS=${SHOTS:-16} BACKBONE=${BACKBONE:-} CFG=${CFG:-} OUTPUT=${OUTPUT:-output/$PROTOCOL}
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
    [ -z "$TARGETS" ] || [[ $PROTOCOL =~ cross_dataset|domain_shift ]] ||
        fail "--targets is for cross_dataset and domain_shift, not for $PROTOCOL"
    [[ $SHOTS =~ ^[1-9][0-9]*$ ]] || fail "--shots must be a positive number, got $SHOTS"
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
    [ -f "configs/datasets/$1.yaml" ] || fail "unknown dataset '$1'; there are: $(names_in configs/datasets)"
}

choose_config() {  # sets BACKBONE, and CFG and RECIPE from configs/recipes.yaml, where they are not given, and LABEL
    local seed chosen line folder=configs/trainers/$METHOD
    RECIPE=()
    [ -n "$METHOD" ] && [ -d "$folder" ] || fail "unknown method '$METHOD'; there are: $(ls configs/trainers | xargs)"
    check_dataset "$DATASET"
    for seed in "${SEEDS[@]}"; do
        [[ $seed =~ ^[0-9]+$ ]] || fail "seeds are numbers, got '$seed'"
        [ "$seed" != 0 ] || [ ! -f .clipfit-installed.json ] || fail "CoOp's train.py takes 0 for no seed; take another"
    done
    if [ -z "$BACKBONE" ]; then
        BACKBONE=ViT-B/16
        [ "$DATASET" != digits ] || BACKBONE=micro
    fi
    if [ -z "$CFG" ]; then
        chosen=$("$PYTHON" tools/recipe.py "$METHOD" "$PROTOCOL" "$DATASET" --shots "$SHOTS" --backbone "$BACKBONE") ||
            exit 2
        while IFS= read -r line; do
            if [ -z "$CFG" ]; then CFG=$line; else RECIPE+=("$line"); fi
        done <<< "$chosen"
    fi
    [ -f "$folder/$CFG.yaml" ] || fail "unknown config '$CFG' for $METHOD; there are: $(names_in "$folder")"
    LABEL=$CFG
    if [ -n "$BEST_VAL" ]; then
        LABEL=${CFG}_best_val
        RECIPE+=(TEST.FINAL_MODEL best_val)
    fi
    echo "$METHOD on $DATASET: $folder/$CFG.yaml${RECIPE[*]:+ with ${RECIPE[*]}}"
    echo "backbone $BACKBONE, $SHOTS shots, seeds ${SEEDS[*]}"
}

train_py() {  # train_py TITLE DATASET FLAG ... [KEY VALUE ...]: one run
    local title=$1 dataset=$2
    shift 2
    set -- "$PYTHON" train.py --root "$DATA" --trainer "$METHOD" --backbone "$BACKBONE" \
        --dataset-config-file "configs/datasets/$dataset.yaml" \
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

transfer() {  # transfer TARGET ...: train on all classes of one dataset, test on others: --targets, else these
    local seed run target name data names=() runs=()
    METHOD=${POSITIONAL[0]:-}
    SOURCE=${POSITIONAL[1]:-imagenet}
    SEEDS=("${POSITIONAL[@]:2}")
    [ ${#SEEDS[@]} -gt 0 ] || SEEDS=(1 2 3)
    [ -z "$TARGETS" ] || set -- $TARGETS
    DATASET=$SOURCE
    for target; do
        name=${target%%=*}
        check_dataset "$name"
        [[ " ${names[*]-} " != *" $name "* ]] || fail "--targets names $name twice"
        names+=("$name")
    done
    choose_config
    for seed in "${SEEDS[@]}"; do
        run=shots_$SHOTS/$METHOD/$LABEL/seed$seed
        train_py "$METHOD on $SOURCE, seed $seed" "$SOURCE" --seed "$seed" --output-dir "$OUTPUT/train/$SOURCE/$run"
        runs+=("$OUTPUT/train/$SOURCE/$run")
        for target; do
            [ "$target" != "$SOURCE" ] || continue
            name=${target%%=*}
            # NAME=DIR: that dataset lies in a folder of its own.
            data=$([ "$target" = "$name" ] && echo "$DATA" || echo "${target#*=}")
            DATA=$data train_py "$METHOD, $SOURCE to $name, seed $seed" "$name" --seed "$seed" \
                --output-dir "$OUTPUT/test/$SOURCE/$name/$run" --eval-only --model-dir "$OUTPUT/train/$SOURCE/$run"
            runs+=("$OUTPUT/test/$SOURCE/$name/$run")
        done
    done
    print_table -- "${runs[@]}"
}

print_table() {  # print_table [OPTION ...] -- RUN ...: the results of these runs
    if [ -f tools/report.py ]; then
        "$PYTHON" tools/report.py --no-files "$@"
        return
    fi
    # In a CoOp checkout, its own script: mean and standard deviation over the seeds that are there.
    while [ "$1" != -- ]; do shift; done
    shift
    dirname -- "$@" | sort -u | while IFS= read -r folder; do
        "$PYTHON" parse_test_res.py "$folder" --test-log || echo "warning: no result read in $folder" >&2
    done
}
