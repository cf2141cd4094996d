#!/bin/sh
# Prints a Python >= 3.12: that of .venv, else one from PATH, pyenv or uv. Says what to do where there is none.
set -eu
cd "$(dirname "$0")/.."

# A pyenv shim exists even when its version is not selected, so only a run tells. 3.15 and later come last: the
# locked packages may have no wheels for them.
suits() {
    "$1" -I -c "import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, ${2:-14}))" >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        suits "$PYTHON" 99 && echo "$PYTHON" && return
        echo "PYTHON=$PYTHON is not a Python >= 3.12; unset it or name another one" >&2
        exit 1
    fi
    [ -x .venv/bin/python ] && suits .venv/bin/python 99 && echo .venv/bin/python && return
    for name in python3.12 python3.13 python3.14 python3 python; do
        suits "$name" && command -v "$name" && return
    done
    for version in 3.12 3.13 3.14; do
        for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python; do
            [ -x "$path" ] && suits "$path" && echo "$path" && return
        done
    done
    if command -v uv >/dev/null 2>&1; then
        path=$(uv python find --no-project '>=3.12,<3.15' 2>/dev/null) && echo "$path" && return
        echo "thresher: no Python >= 3.12 found; uv installs one" >&2
        uv python install 3.12 >&2 && uv python find --no-project 3.12 && return
    fi
    for name in python3 python; do
        suits "$name" 99 && command -v "$name" && return
    done
    cat >&2 <<'ADVICE'
Thresher needs Python 3.12 or newer and found none (on PATH, under ~/.pyenv/versions, by uv). One of these helps:
  Debian 13, Ubuntu 24.04:   sudo apt-get install -y python3 python3-venv
  Fedora:                    sudo dnf install -y python3.12
  any Linux with pyenv:      pyenv install 3.12
  any Linux with uv:         uv python install 3.12
or name one yourself:        make setup PYTHON=/path/to/python3.12
ADVICE
    exit 1
}

find_python
