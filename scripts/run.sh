#!/usr/bin/env bash
# Runs a protocol with tools/sweep.py: bash scripts/run.sh PROTOCOL [arguments of scripts/PROTOCOL.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
exec "$PYTHON" -m tools.sweeping.script_arguments "$@"
