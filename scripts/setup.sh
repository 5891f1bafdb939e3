# Source this file. It defines `setup`, which creates .venv, installs requirements files, and sets PYTHON to its Python:
#   setup requirements.txt requirements-report.txt
# It installs nothing if .venv has these files and no requirements file has changed. PYTHON names the interpreter that
# creates .venv.

find_python() {  # prints the name of a Python 3.10 or later
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10 or later found: install one, or set its path with PYTHON=/path/to/python bash $0" >&2
    return 1
}

installed() {  # installed CONTENT FILE ...: whether .venv works and has each FILE; CONTENT is that of all files
    local content=$1 file
    shift
    for file; do
        [ "$(cat ".venv/installed-$file" 2>/dev/null)" = "$content" ] || return
    done
    .venv/bin/python -c '' 2>/dev/null
}

setup() {
    local content
    content=$(cat requirements*.txt)
    if ! installed "$content" "$@"; then
        if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
            PYTHON=$(find_python)
            "$PYTHON" -m venv --clear .venv || {
                echo "error: cannot create .venv; on Debian and Ubuntu: apt install python3-venv" >&2
                return 1
            }
        fi
        echo "Installing $* into .venv, $(.venv/bin/python --version). This happens once and downloads PyTorch."
        .venv/bin/python -m pip install --disable-pip-version-check "${@/#/--requirement=}" || {
            echo "error: pip failed to install $* (see above); run the same command to retry" >&2
            return 1
        }
        printf '%s\n' "$content" | tee "${@/#/.venv/installed-}" > /dev/null
    fi
    PYTHON=.venv/bin/python
}
