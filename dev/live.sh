#!/usr/bin/env bash
# Installs what the live tests need (Debian 12, root), starts the servers, runs the tests, stops the servers.
# A missing server is a failure here, not a skip. Arguments go to the pytest of tests/live.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "make live needs root: it installs Debian packages" >&2; exit 2; }
export DEBIAN_FRONTEND=noninteractive
packages=(bubblewrap charliecloud chromium curl libatomic1 memcached postgresql swift-account
          swift-container swift-object swift-proxy)
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)

install() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  # Packages start their services on install; the tests start their own, on their own ports.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  rm -f /usr/sbin/policy-rc.d
  trap - EXIT
}

# The first of so many free ports in a row: two runs on one machine do not meet.
free_ports() {
  .venv/bin/python - "$1" <<'PYTHON'
import random, socket, sys

def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

count = int(sys.argv[1])
while True:
    first = random.randrange(20000, 32000)  # below those that the kernel gives away
    if all(free(first + n) for n in range(count)):
        print(first)
        break
PYTHON
}

# Every part runs, whatever became of those before it; what they took and how they ended is told at the end.
failed=0
report=()
part() {
  local name="$1" began="$SECONDS" end="well"
  shift
  printf '\n--- %s\n' "$name"
  "$@" || { end="FAILED"; failed=1; }
  report+=("$(printf '%-28s %4d s  %s' "$name" "$((SECONDS - began))" "$end")")
}

servers() {
  # One after another: on two cores they only hinder each other.
  dev/postgres.sh up && dev/s3.sh up
}

stop() {
  dev/postgres.sh down || true
  dev/s3.sh down || true
}

part "packages" install
part "environment" make --no-print-directory .venv/.live
part "environment of Snakemake" dev/snakemake.sh
AYNI_PG_PORT="$(free_ports 1)"
AYNI_S3_PORT="$(free_ports 5)"
export AYNI_PG_PORT AYNI_S3_PORT
trap stop EXIT
part "servers" servers
[ "$failed" = 0 ] || exit 1
eval "$(dev/postgres.sh env)"
eval "$(dev/s3.sh env)"

export AYNI_LIVE=1
# The hub's own tests once more, on PostgreSQL.
part "hub's tests on PostgreSQL" \
  env AYNI_DATABASE_URL="$AYNI_TEST_POSTGRES" .venv/bin/pytest tests/hub -m "not fault"
part "live tests" .venv/bin/pytest tests/live --durations=8 "$@"
# A seeded part of the fault run.
part "20 kills of the fault run" .venv/bin/python -m tests.fault --kills 20 --seed 20

printf '\n'
printf '%s\n' "${report[@]}"
exit "$failed"
