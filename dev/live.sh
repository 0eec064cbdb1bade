#!/usr/bin/env bash
# Installs what the live tests need (Debian 12, root), starts the servers, runs the tests, stops the servers.
# A missing server is a failure here, not a skip.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "make live needs root: it installs Debian packages" >&2; exit 2; }
export DEBIAN_FRONTEND=noninteractive
packages=(bubblewrap charliecloud chromium postgresql memcached swift-proxy swift-account
          swift-container swift-object gettext)
missing=()
for package in "${packages[@]}"; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  # Packages start their services on install; the tests start their own, on their own ports.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  rm -f /usr/sbin/policy-rc.d
fi

stop() { dev/postgres.sh down || true; dev/s3.sh down || true; }
trap stop EXIT
dev/postgres.sh up
dev/s3.sh up
. dev/state/postgres.env
. dev/state/s3.env

export AYNI_LIVE=1
# The hub's own tests once more, on PostgreSQL.
AYNI_DATABASE_URL="$AYNI_TEST_POSTGRES" .venv/bin/pytest tests/hub -m "not fault"
.venv/bin/pytest tests/live "$@"
# A seeded part of the fault run.
.venv/bin/python -m tests.fault --kills 20 --seed 20
