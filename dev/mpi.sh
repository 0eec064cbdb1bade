#!/bin/sh
# Makes a software tree for the clusters of `dev/slurm.sh`: MPICH, and a program that is built with it.
# Debian 12's own MPICH 4.0 hangs in MPI_Finalize about every second time when it talks by TCP.
set -eu
cd "$(dirname "$0")/.."

tree="${AYNI_SLURM_DIR:-/var/tmp/ayni-slurm}/mpi"
if [ ! -e "$tree/bin/pi" ]; then
    rm -rf "$tree"
    .venv/bin/python -m venv "$tree"
    "$tree/bin/python" -m pip --quiet --disable-pip-version-check install -r tests/live/mpi/requirements.txt
    "$tree/bin/mpicc" -O2 -o "$tree/bin/pi" tests/live/mpi/pi.c
    chmod -R go+rX "$tree"
fi
