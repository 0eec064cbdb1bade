#!/bin/sh
# A private PostgreSQL for the live tests: dev/postgres.sh up|down|env
#
# AYNI_PG_PORT chooses its port; what the tests want to know of it is in dev/state/postgres-PORT.env.
# Lives in a folder of its own under /tmp, listens on 127.0.0.1 only, trusts local connections. As root
# it runs as the user postgres, since PostgreSQL refuses to run as root.
set -eu

port="${AYNI_PG_PORT:-54329}"
folder="${AYNI_PG_FOLDER:-/tmp/ayni-postgres-$port}"
state="$(dirname "$0")/state"
env="$state/postgres-$port.env"
url="postgres://ayni@127.0.0.1:$port/ayni"

find_bin() {
    for dir in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) \
        "$(dirname "$(command -v postgres 2>/dev/null || echo /nowhere/postgres)")"; do
        [ -x "$dir/initdb" ] && { echo "$dir"; return; }
    done
    echo "postgres.sh: there is no PostgreSQL here; install the package postgresql" >&2
    exit 1
}

as_user() {
    if [ "$(id -u)" = 0 ]; then
        su postgres -s /bin/sh -c 'cd / && exec "$@"' -- sh "$@"
    else
        "$@"
    fi
}

up() {
    bin="$(find_bin)"
    if [ ! -d "$folder/data" ]; then
        mkdir -p "$folder"
        [ "$(id -u)" != 0 ] || chown postgres "$folder"
        as_user "$bin/initdb" -D "$folder/data" -U ayni -A trust --locale=C.UTF-8 >/dev/null
        # Durability is not what these tests are about; the logs of a crash are.
        printf '%s\n' "listen_addresses = '127.0.0.1'" "port = $port" \
            "unix_socket_directories = '$folder'" "fsync = off" "max_connections = 200" |
            as_user tee -a "$folder/data/postgresql.conf" >/dev/null
    fi
    as_user "$bin/pg_ctl" -D "$folder/data" status >/dev/null 2>&1 ||
        as_user "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w start >/dev/null
    as_user "$bin/psql" -h 127.0.0.1 -p "$port" -U ayni -d postgres -Atc \
        "SELECT 1 FROM pg_database WHERE datname = 'ayni'" | grep -q 1 ||
        as_user "$bin/createdb" -h 127.0.0.1 -p "$port" -U ayni ayni
    mkdir -p "$state"
    echo "export AYNI_TEST_POSTGRES=$url" >"$env"
    echo "$url"
}

down() {
    bin="$(find_bin)"
    [ -d "$folder/data" ] || exit 0
    as_user "$bin/pg_ctl" -D "$folder/data" -m fast -w stop >/dev/null 2>&1 || true
    rm -rf "$folder" "$env"
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    env) cat "$env" ;;
    *) echo "usage: dev/postgres.sh up|down|env" >&2; exit 2 ;;
esac
