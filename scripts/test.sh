#!/usr/bin/env bash
# Installs the test requirements into .venv and runs the tests: bash scripts/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
    --help | -h) sed -n '2s/^# //p' "$0"; exit 0 ;;
esac
. scripts/setup.sh
setup requirements-test.txt
"$PYTHON" -m ruff check .
exec "$PYTHON" -m pytest --numprocesses auto --dist worksteal "$@"
