#!/bin/sh
# Makes .venv-peers: the tools that `python -m bench.slurm tools` measures beside Ayni, apart from our environment.
set -eu
cd "$(dirname "$0")/.."

venv=.venv-peers
requirements=bench/slurm/requirements.txt
if ! cmp -s "$requirements" "$venv/made-from"; then
    rm -rf "$venv"
    .venv/bin/python -m venv "$venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check install -r "$requirements"
    cp "$requirements" "$venv/made-from"
fi
