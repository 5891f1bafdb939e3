# Sourced: makes .venv with the given requirements files and sets PYTHON to its interpreter.
#   setup requirements.txt requirements-report.txt
# Does nothing if .venv was set up with them and no requirements file has changed since. PYTHON=... names the interpreter
# to build it from.

find_python() {  # prints a Python of version 3.10 or later
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10 or later found; install one, or name it: PYTHON=/path/to/python bash $0" >&2
    return 1
}

installed() {  # installed WANTED FILE ...: whether .venv runs and was set up with each of these files
    local wanted=$1 file
    shift
    for file; do
        [ "$(cat ".venv/installed-$file" 2>/dev/null)" = "$wanted" ] || return
    done
    .venv/bin/python -c '' 2>/dev/null
}

setup() {
    local wanted
    wanted=$(cat requirements*.txt)
    if ! installed "$wanted" "$@"; then
        if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
            PYTHON=$(find_python)
            "$PYTHON" -m venv --clear .venv || {
                echo "error: cannot make .venv; on Debian and Ubuntu: apt install python3-venv" >&2
                return 1
            }
        fi
        echo "Setting up .venv from $* with $(.venv/bin/python --version); once, and it downloads PyTorch."
        .venv/bin/python -m pip install --disable-pip-version-check "${@/#/--requirement=}" || {
            echo "error: pip could not install $* (see above); run this command again to retry" >&2
            return 1
        }
        printf '%s\n' "$wanted" | tee "${@/#/.venv/installed-}" > /dev/null
    fi
    PYTHON=.venv/bin/python
}
