#!/usr/bin/env bash
# The former name of scripts/zeroshot_clip/fewshot.sh.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../zeroshot_clip/fewshot.sh" "$@"
