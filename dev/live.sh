#!/usr/bin/env bash
# Installs what the live tests need (Debian 12, root), starts the servers, runs the tests, stops the servers.
# A missing server is a failure here, not a skip. Arguments go to the pytest of tests/live.
set -euo pipefail
cd "$(dirname "$0")/.."
. dev/lib.sh

[ "$(id -u)" = 0 ] || { echo "make live needs root: it installs Debian packages" >&2; exit 2; }
packages=(bubblewrap charliecloud chromium curl environment-modules gcc libatomic1 libc6-dev memcached postgresql
          swift-account swift-container swift-object swift-proxy)
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)

# Every part runs, whatever became of those before it; what they took and how they ended is told at the end.
failed=0
report=()
beside_pid=""
part() {
  local name="$1" began="$SECONDS" end="well"
  shift
  printf '\n--- %s\n' "$name"
  "$@" || { end="FAILED"; failed=1; }
  report+=("$(printf '%-28s %4d s  %s' "$name" "$((SECONDS - began))" "$end")")
}

# As `part`, while the parts after it run; `joined` waits for it and shows what it said.
beside() {
  beside_name="$1" beside_began="$SECONDS" beside_log="$(mktemp)"
  shift
  nice "$@" >"$beside_log" 2>&1 &
  beside_pid=$!
}

joined() {
  local end="well, beside"
  wait "$beside_pid" || { end="FAILED"; failed=1; }
  beside_pid=""
  printf '\n--- %s\n' "$beside_name"
  cat "$beside_log"
  rm -f "$beside_log"
  report+=("$(printf '%-28s %4d s  %s' "$beside_name" "$((SECONDS - beside_began))" "$end")")
}

servers() {
  # One after another: on two cores they only hinder each other.
  dev/postgres.sh up && dev/s3.sh up && dev/slurm.sh up
}

stop() {
  [ -z "$beside_pid" ] || kill "$beside_pid" 2>/dev/null || true
  dev/postgres.sh down || true
  dev/s3.sh down || true
  [ -n "$had_slurm" ] || dev/slurm.sh down || true
}

part "packages" install_packages "${packages[@]}"
part "environment" make --no-print-directory .venv/.live
part "environment of Snakemake" dev/snakemake.sh
AYNI_PG_PORT="$(free_ports 1)"
AYNI_S3_PORT="$(free_ports 5)"
export AYNI_PG_PORT AYNI_S3_PORT
clusters="${AYNI_SLURM_DIR:-/var/tmp/ayni-slurm}/clusters.json"
had_slurm="$(ls "$(dirname "$clusters")/ready" 2>/dev/null || true)" # it stays as it was
trap stop EXIT
part "servers" servers
part "environment of MPI" dev/mpi.sh
[ "$failed" = 0 ] || exit 1
eval "$(dev/postgres.sh env)"
eval "$(dev/s3.sh env)"

export AYNI_LIVE=1
# The hub's own tests once more, on PostgreSQL.
part "hub's tests on PostgreSQL" \
  env AYNI_DATABASE_URL="$AYNI_TEST_POSTGRES" .venv/bin/pytest tests/hub -m "not fault" -n 2 --dist=loadfile
part "environment of the model" make --no-print-directory .venv/.lm
# Those tests that need torch, which was not there before. They compute and the live tests mostly wait, so
# they go beside each other.
mapfile -t with_torch < <(grep -rlE 'importorskip\("(torch|transformers)"\)' tests --include='*.py' \
  | grep -v '^tests/live/' | sort)
beside "joint model" env OMP_NUM_THREADS=1 .venv/bin/pytest "${with_torch[@]}"
part "live tests" env OMP_NUM_THREADS=1 .venv/bin/pytest tests/live --durations=8 "$@"
joined
part "demo over Slurm" .venv/bin/ayni demo --slurm "$clusters" --out out/atlas-slurm
# A seeded part of the fault runs. Both mostly wait, so they go beside each other.
beside "20 kills of the fault run" .venv/bin/python -m tests.fault --kills 20 --seed 20
part "20 kills over Slurm" .venv/bin/python -m tests.fault --kills 20 --seed 20 --slurm "$clusters"
joined

printf '\n'
printf '%s\n' "${report[@]}"
exit "$failed"
