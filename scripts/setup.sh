# Source this file. It defines `setup`, which creates .venv, installs requirements files, and sets PYTHON to its Python:
#   setup requirements.txt requirements-report.txt
# It installs nothing if .venv has these files and no requirements file has changed. PYTHON names the interpreter that
# creates .venv. It prints a line per stage; what pip prints is in .venv/install.log, and on the screen if it fails.

INSTALL_LOG=.venv/install.log
UNREACHABLE='ConnectionError|Connection (refused|broken|aborted|reset)|ConnectTimeout|[Rr]ead timed out|name resolution'
UNREACHABLE+='|Network is unreachable|ProxyError|SSLError|ReadTimeout'  # in pip's output
LEAST_MB=100  # free space below which a failure means that the disk is full

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

remedy() {  # remedy OUTPUT: prints why a command with this output has failed, as far as known, and what to do
    local free
    free=$(df -Pm . | awk 'NR == 2 { print $4 }')
    if grep -qiE 'no space left|quota exceeded' <<< "$1" || [ "${free:-$LEAST_MB}" -lt "$LEAST_MB" ]; then
        echo "the disk is full: free some GB (pip also uses the folder of TMPDIR) and run the same command again"
    elif grep -qE "$UNREACHABLE" <<< "$1"; then
        echo "the package index cannot be reached: check the connection, or set PIP_INDEX_URL, and run the same command again"
    elif grep -qi ensurepip <<< "$1"; then
        echo "Python's venv is incomplete: on Debian and Ubuntu, apt install python3-venv, and run the same command again"
    else
        echo "see above, and run the same command to retry"
    fi
}

failed() {  # failed WHAT OUTPUT [LOG]: prints the end of the output and one line with the remedy
    tail -n 8 <<< "$2" | cut -c -300 | sed 's/^/    /' >&2
    echo "error: $1: $(remedy "$2")${3:+; complete output: $3}" >&2
    return 1
}

create_venv() {
    local output
    PYTHON=$(find_python) || return
    echo "Creating .venv with $("$PYTHON" --version)"
    output=$("$PYTHON" -m venv --clear .venv 2>&1) || failed "cannot create .venv" "$output"
}

install() {  # install FILE ...
    local seconds=$SECONDS
    echo "Installing $*: downloads PyTorch, needs up to 6 GB and some minutes, once"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        "${@/#/--requirement=}" > "$INSTALL_LOG" 2>&1 ||
        failed "pip failed to install $*" "$(tail -n 200 "$INSTALL_LOG" 2>/dev/null)" "$INSTALL_LOG" || return
    echo "Installed in $((SECONDS - seconds)) s"
}

setup() {
    local content
    content=$(cat requirements*.txt)
    if ! installed "$content" "$@"; then
        trap 'trap - INT; echo "Interrupted. The same command continues the installation." >&2; exit 130' INT
        .venv/bin/python -m pip --version >/dev/null 2>&1 || create_venv || return
        install "$@" || return
        printf '%s\n' "$content" | tee "${@/#/.venv/installed-}" > /dev/null ||
            failed "cannot write to .venv" "" || return
        trap - INT
    fi
    PYTHON=.venv/bin/python
}
