#!/usr/bin/env bash
# Images with captions: trains on SHOTS images, tests on the test images.
# bash scripts/retrieval.sh METHOD [DATASET] [SHOTS] [SEED ...] [options]; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" retrieval "$@"
