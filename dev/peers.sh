#!/bin/sh
# Makes .venv-peers and .venv-flower: the tools that `python -m bench.slurm tools` and
# `python -m bench.outer_exchange` measure beside Ayni, apart from our environment.
set -eu
cd "$(dirname "$0")/.."

make_venv() {  # make_venv FOLDER REQUIREMENTS
    if ! cmp -s "$2" "$1/made-from"; then
        rm -rf "$1"
        .venv/bin/python -m venv "$1"
        "$1/bin/python" -m pip --quiet --disable-pip-version-check install -r "$2"
        cp "$2" "$1/made-from"
    fi
}

make_venv .venv-peers bench/slurm/requirements.txt
make_venv .venv-flower bench/outer_exchange/requirements.txt
