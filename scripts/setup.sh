# Sourced: makes .venv with the given requirements file and sets PYTHON to its interpreter.
#   setup requirements.txt
# Does nothing when .venv was set up with it and no list of requirements has changed since. PYTHON=... names the interpreter to build it from.

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

setup() {
    local requirements=$1 stamp=.venv/installed-$1 wanted
    wanted=$(cat requirements*.txt)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || ! .venv/bin/python -c '' 2>/dev/null; then
        if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
            PYTHON=$(find_python)
            "$PYTHON" -m venv --clear .venv || {
                echo "error: cannot make .venv; on Debian and Ubuntu: apt install python3-venv" >&2
                return 1
            }
        fi
        echo "Setting up .venv from $requirements with $(.venv/bin/python --version); once, and it downloads PyTorch."
        .venv/bin/python -m pip install --disable-pip-version-check -r "$requirements" || {
            echo "error: pip could not install $requirements (see above); run this command again to retry" >&2
            return 1
        }
        printf '%s\n' "$wanted" > "$stamp"
    fi
    PYTHON=.venv/bin/python
}
