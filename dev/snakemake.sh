#!/bin/sh
# Makes .venv-snakemake: Snakemake with its TES and S3 plugins, apart from our own environment.
#
# A Snakemake job installs the storage plugin with pip before it starts. So that this needs no network at
# a site, the plugin's wheel lies in .venv-snakemake/wheels, where PIP_FIND_LINKS may point.
set -eu
cd "$(dirname "$0")/.."

venv=.venv-snakemake
requirements=tests/live/snakemake/requirements.txt
if ! cmp -s "$requirements" "$venv/made-from"; then
    rm -rf "$venv"
    .venv/bin/python -m venv "$venv"
    pip="$venv/bin/python -m pip --quiet --disable-pip-version-check"
    $pip install -r "$requirements"
    plugin="$(grep '^snakemake-storage-plugin-s3==' "$requirements")"
    $pip download --no-deps --dest "$venv/wheels" "$plugin"
    cp "$requirements" "$venv/made-from"
fi
