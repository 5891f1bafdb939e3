#!/usr/bin/env bash
# Few-shot learning: trains and tests on all classes.
# bash scripts/fewshot.sh METHOD [DATASET] [SHOTS] [SEED ...] [options]; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" fewshot "$@"
