#!/bin/sh
# A real S3 server for the live tests: OpenStack Swift with its s3api. dev/s3.sh up|down|env
#
# Needs Debian's swift-proxy, swift-account, swift-container, swift-object and memcached. Everything lies
# in a folder of its own and listens on 127.0.0.1 only. The folder's file system needs extended attributes.
# AYNI_S3_PORT chooses its port; what the tests want to know of it is in dev/state/s3-PORT.env.
set -eu

port="${AYNI_S3_PORT:-54380}" # and the four that follow
folder="${AYNI_S3_FOLDER:-/tmp/ayni-s3-$port}"
env="$(dirname "$0")/state/s3-$port.env"
bucket=ayni-tests
endpoint="http://127.0.0.1:$port"
account=$((port + 1)) container=$((port + 2)) object=$((port + 3)) memcached=$((port + 4))

needed() {
    for program in swift-ring-builder swift-proxy-server memcached; do
        command -v "$program" >/dev/null || {
            echo "s3.sh: there is no $program here; install swift-proxy swift-account" \
                "swift-container swift-object memcached" >&2
            exit 1
        }
    done
}

# What Swift reads from /etc/swift is in our folder instead.
configure() {
    user="$(id -un)"
    mkdir -p "$folder/etc" "$folder/data/d1" "$folder/run" "$folder/log"
    cat >"$folder/etc/swift.conf" <<EOF
[swift-hash]
swift_hash_path_suffix = ayni-live-tests
[storage-policy:0]
name = only
default = yes
EOF
    storage account "$account"
    storage container "$container"
    storage object "$object"
    cat >"$folder/etc/proxy-server.conf" <<EOF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 0
user = $user
swift_dir = $folder/etc
log_level = WARNING
log_address = $folder/log/none
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# One server that was not ready yet is not to be passed over for a minute.
error_suppression_limit = 100000
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$memcached
EOF
    for filter in catch_errors gatekeeper healthcheck listing_formats bulk tempurl slo dlo; do
        printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "$filter"
    done >>"$folder/etc/proxy-server.conf"
}

storage() {
    cat >"$folder/etc/$1-server.conf" <<EOF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $2
workers = 0
user = $(id -un)
swift_dir = $folder/etc
devices = $folder/data
mount_check = false
disable_fallocate = true
log_level = WARNING
log_address = $folder/log/none
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
EOF
    (
        cd "$folder/etc"
        swift-ring-builder "$1.builder" create 4 1 1 >/dev/null
        swift-ring-builder "$1.builder" add "r1z1-127.0.0.1:$2/d1" 1 >/dev/null
        swift-ring-builder "$1.builder" rebalance >/dev/null || [ $? = 1 ] # 1 is a warning
    )
}

start() {
    name="$1"
    shift
    nohup "$@" >"$folder/log/$name" 2>&1 &
    echo $! >"$folder/run/$name.pid"
}

running() {
    [ -f "$folder/run/proxy.pid" ] && kill -0 "$(cat "$folder/run/proxy.pid")" 2>/dev/null
}

up() {
    needed
    if ! running; then
        rm -rf "$folder"
        configure
        start memcached memcached -l 127.0.0.1 -p "$memcached" -U 0 -u "$(id -un)"
        for server in account container object; do
            start "$server" "swift-$server-server" "$folder/etc/$server-server.conf"
        done
        start proxy swift-proxy-server "$folder/etc/proxy-server.conf"
    fi
    # The proxy answers before the servers behind it do; with a bucket, all of them have.
    for _ in $(seq 240); do
        make_bucket && ready=1 && break
        sleep 0.25
    done
    [ "${ready:-}" = 1 ] || {
        echo "s3.sh: Swift does not answer; see $folder/log" >&2
        tail -n 5 "$folder"/log/* >&2
        down
        exit 1
    }
    mkdir -p "$(dirname "$env")"
    cat >"$env" <<EOF
export AYNI_TEST_S3=$endpoint
export AYNI_TEST_S3_BUCKET=$bucket
export AYNI_TEST_S3_KEY=test:tester
export AYNI_TEST_S3_SECRET=testing
EOF
    echo "$endpoint"
}

make_bucket() {
    token="$(curl -sfi -H 'X-Storage-User: test:tester' -H 'X-Storage-Pass: testing' \
        "$endpoint/auth/v1.0" | tr -d '\r' | sed -n 's/^X-Auth-Token: //Ip')"
    [ -n "$token" ] &&
        curl -sf -X PUT -H "X-Auth-Token: $token" "$endpoint/v1/AUTH_test/$bucket" >/dev/null
}

down() {
    for pid in "$folder"/run/*.pid; do
        [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true
    done
    for _ in $(seq 40); do
        alive=0
        for pid in "$folder"/run/*.pid; do
            [ -f "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null && alive=1
        done
        [ "$alive" = 1 ] || break
        sleep 0.25
    done
    rm -rf "$folder" "$env"
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    env) cat "$env" ;;
    *) echo "usage: dev/s3.sh up|down|env" >&2; exit 2 ;;
esac
