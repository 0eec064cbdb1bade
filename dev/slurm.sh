#!/usr/bin/env bash
# Three real Slurm clusters with accounting on this machine, one to a country of the demo (Debian 12, root).
#
#   dev/slurm.sh up | down | status
#   dev/slurm.sh start | stop | kill  SERVER...   for the tests of faults; `status` names the servers
#
# Everything lies in $AYNI_SLURM_DIR and listens on free ports of 127.0.0.1; clusters.json there tells the
# tests what there is. The nodes are virtual: every one is a slurmd on this machine, and has what its line in
# dev/slurm/CLUSTER.conf says. Local users and control groups belong to the machine: one such set at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
. dev/lib.sh

dir="${AYNI_SLURM_DIR:-/var/tmp/ayni-slurm}"
clusters=(santiago mexico bogota)
users=(ayni ayni-ana ayni-luis)

die() {
  echo "slurm.sh: $*" >&2
  exit 1
}

# --- what this machine's control groups allow

# Slurm reports a memory overrun as OUT_OF_MEMORY only where it can make control groups.
cgroups() {
  if [ -w /sys/fs/cgroup/memory/cgroup.procs ] && [ -w /sys/fs/cgroup/freezer/cgroup.procs ]; then
    echo v1
  elif grep -qs memory /sys/fs/cgroup/cgroup.controllers && [ -w /sys/fs/cgroup/cgroup.procs ]; then
    echo v2
  else
    echo none
  fi
}

tracking() {
  if [ "$(cgroups)" = none ]; then
    printf '%s\n' ProctrackType=proctrack/linuxproc TaskPlugin=task/none JobAcctGatherParams=OverMemoryKill
  else
    printf '%s\n' ProctrackType=proctrack/cgroup TaskPlugin=task/cgroup
  fi
}

# --- configuration

nodes_of() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "dev/slurm/$1.conf"; }

configure() {
  local first cluster
  mkdir -p "$dir"/{run,log,mariadb,home,work}
  chmod 755 "$dir"
  chmod 1777 "$dir/work"
  first="$(free_ports 40)"
  echo "$first" >"$dir/mariadb/port"
  for cluster in "${clusters[@]}"; do
    echo "CREATE DATABASE IF NOT EXISTS slurm_$cluster;"
  done >"$dir/mariadb/init.sql"
  cat >>"$dir/mariadb/init.sql" <<EOF
CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON *.* TO slurm@'127.0.0.1';
EOF
  chown -R mysql: "$dir/mariadb"
  for cluster in "${clusters[@]}"; do
    first=$((first + 10))
    cluster_files "$cluster" "$first"
  done
  describe >"$dir/clusters.json"
}

# Arguments: the cluster and its first port (slurmctld's; slurmdbd's and those of its nodes follow).
cluster_files() {
  local folder="$dir/$1" script number=0 node
  mkdir -p "$folder"/{state,spool,munge}
  head -c 128 /dev/urandom >"$folder/munge/key"
  chmod 400 "$folder/munge/key"
  chown -R munge: "$folder/munge"
  script="s|@DIR@|$dir|g;s|@CLUSTER@|$1|g;s|@HOST@|$(hostname -s)|g"
  script="$script;s|@PORT@|$2|g;s|@DBD_PORT@|$(($2 + 1))|g;s|@DATABASE_PORT@|$(cat "$dir/mariadb/port")|g"
  for node in $(nodes_of "$1"); do
    number=$((number + 1))
    mkdir -p "$folder/spool/$node"
    script="$script;s|@NODE$number@|NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$(($2 + 1 + number))|"
  done
  { sed "$script" dev/slurm/common.conf "dev/slurm/$1.conf" && tracking; } >"$folder/slurm.conf"
  # Slurm looks for the others in the folder of SLURM_CONF.
  (umask 077 && sed "$script" dev/slurm/slurmdbd.conf >"$folder/slurmdbd.conf")
  gpus "$1" >"$folder/gres.conf"
  cat >"$folder/cgroup.conf" <<EOF
CgroupPlugin=cgroup/$(cgroups | sed s/none/v1/)
CgroupAutomount=no
ConstrainCores=no
ConstrainDevices=no
ConstrainRAMSpace=yes
EOF
  [ "$(cgroups)" != v2 ] || echo IgnoreSystemd=yes >>"$folder/cgroup.conf"
}

# Declared ones: an empty file stands for each card.
gpus() {
  local node type count number
  sed -n 's/^NodeName=\([^ ]*\) .*Gres=gpu:\([a-z0-9]*\):\([0-9]*\).*/\1 \2 \3/p' "dev/slurm/$1.conf" |
    while read -r node type count; do
      for number in $(seq "$count"); do
        touch "$dir/$1/gpu$number"
        echo "NodeName=$node Name=gpu Type=$type File=$dir/$1/gpu$number"
      done
    done
}

# What the tests want to know: clusters.json.
describe() {
  "${PYTHON:-python3}" - "$dir" "$(cgroups)" "${clusters[@]}" <<'PYTHON'
import json, pathlib, re, sys

folder, cgroups, *names = sys.argv[1:]
country = {"santiago": "CL", "mexico": "MX", "bogota": "CO"}

def cluster(name):
    conf = pathlib.Path(folder, name, "slurm.conf")
    text = conf.read_text()
    found = lambda key: [v for v in re.findall(rf"^{key}=(\S+)", text, re.M) if v != "DEFAULT"]
    return {
        "conf": str(conf),
        "country": country[name],
        "partitions": found("PartitionName"),
        "nodes": found("NodeName"),
        "gpus": sum(map(int, re.findall(r"Gres=gpu:\w+:(\d+)", text))),
        "preempt_mode": found("PreemptMode")[0],
    }

print(json.dumps({
    "clusters": {name: cluster(name) for name in names},
    "cgroups": cgroups,
    "work": folder + "/work",
    "qos": ["normal", "short", "small", "spare"],
    "accounts": ["ayni", "fisica", "lenguas"],
    "users": {
        "ayni": {"accounts": ["ayni", "fisica", "lenguas"], "qos": ["normal", "short", "small", "spare"]},
        "ayni-ana": {"accounts": ["fisica"], "qos": ["normal", "short", "small", "spare"]},
        "ayni-luis": {"accounts": ["lenguas"], "qos": ["normal", "spare"]},
    },
}, indent=2))
PYTHON
}

# --- who may use them

make_users() {
  local user
  for user in "${users[@]}"; do
    if ! id "$user" >/dev/null 2>&1; then
      useradd --system --user-group --no-create-home --home-dir "$dir/home/$user" --shell /bin/bash "$user"
      echo "$user" >>"$dir/users" # down removes those, and no one else
    fi
    install -d -o "$user" -g "$user" -m 755 "$dir/home/$user"
  done
  # An agent that runs tasks as its projects' users shares files with each by that user's group.
  usermod -aG ayni-ana,ayni-luis ayni
}

# Ana has fisica, Luis has lenguas and not every QOS, ayni (a single service account) has them all.
make_accounts() { # cluster
  local all=normal,short,small,spare do
  do="env SLURM_CONF=$dir/$1/slurm.conf sacctmgr -i"
  $do add cluster "$1"
  $do add qos short,small,spare
  $do modify qos normal,short,small set Preempt=spare Priority=10
  # What is over short's limits is refused at once; what is over small's waits.
  $do modify qos short set MaxWall=10 MaxSubmitJobsPerUser=8 Priority=100 Flags=DenyOnLimit
  $do modify qos small set MaxTRESPerUser=cpu=2 MaxSubmitJobsPerUser=100
  $do modify qos spare set PreemptMode=requeue Priority=0
  $do add account ayni,fisica,lenguas Description=tests Organization=ayni
  $do add user ayni account=ayni,fisica,lenguas DefaultAccount=ayni qos=$all DefaultQOS=normal
  $do add user ayni-ana account=fisica qos=$all DefaultQOS=normal
  $do add user ayni-luis account=lenguas qos=normal,spare DefaultQOS=normal
}

# --- the servers

# Each cluster has its own munge and slurmdbd, as each country has: they fail alone.
servers() {
  local cluster node
  echo mariadb
  for cluster in "${clusters[@]}"; do
    echo "munge-$cluster" "slurmdbd-$cluster" "slurmctld-$cluster"
    for node in $(nodes_of "$cluster"); do echo "slurmd-$node"; done
  done | tr ' ' '\n'
}

# A process is ours if its environment names our folder: the servers and what they start have it there.
running() {
  local pid
  pid="$(cat "$dir/run/$1.pid" 2>/dev/null)" && [ -n "$pid" ] &&
    grep -qa -- "$dir/" "/proc/$pid/environ" 2>/dev/null
}

# A server that kept our caller's descriptors would hold a lock (flock) that the caller has, for as long as it runs.
close_inherited() {
  local fd
  for fd in /proc/self/fd/*; do
    fd="${fd##*/}"
    if [ "$fd" -gt 2 ] && [ "$fd" != 255 ]; then eval "exec $fd>&-"; fi # 255 is bash's own
  done
}

launch() {
  local name="${1#*-}" # the cluster or, of slurmd, the node
  local folder="$dir/${name%-n[0-9]*}"
  export SLURM_CONF="$folder/slurm.conf"
  close_inherited
  case "$1" in
    mariadb)
      setsid mariadbd --no-defaults --user=mysql --datadir="$dir/mariadb/data" \
        --bind-address=127.0.0.1 --port="$(cat "$dir/mariadb/port")" --socket="$dir/mariadb/socket" \
        --init-file="$dir/mariadb/init.sql" --innodb-lock-wait-timeout=900 \
        --innodb-flush-log-at-trx-commit=0 >"$dir/log/mariadb.log" 2>&1 </dev/null &
      echo $! >"$dir/run/mariadb.pid"
      ;;
    munge-*)
      setpriv --reuid munge --regid munge --clear-groups munged \
        --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
      cp "$folder/munge/pid" "$dir/run/$1.pid"
      ;;
    slurmdbd-*) slurmdbd ;;
    slurmctld-*) slurmctld ;;
    slurmd-*) slurmd -N "$name" ;;
  esac
}

answers() {
  local folder="$dir/${1#*-}"
  case "$1" in
    mariadb) mariadb --no-defaults -S "$dir/mariadb/socket" -e "USE slurm_${clusters[-1]}" ;;
    munge-*) munge -S "$folder/munge/socket" -n ;;
    slurmdbd-*) SLURM_CONF="$folder/slurm.conf" timeout 5 sacctmgr -n show qos normal ;;
    slurmctld-*) SLURM_CONF="$folder/slurm.conf" timeout 5 scontrol ping ;;
    *) running "$1" ;;
  esac >/dev/null 2>&1
}

known() {
  local all
  all="$(servers | xargs)"
  [[ " $all " = *" $1 "* ]] || die "there is no server $1; there are: $all"
}

until_true() {
  local _
  for _ in $(seq 300); do
    "$@" && return 0
    sleep 0.2
  done
  return 1
}

start() {
  known "$1"
  running "$1" || (launch "$1")
  until_true answers "$1" || die "$1 does not answer; see $dir/log"
}

gone() { ! running "$1"; }

end() { # signal, server
  known "$2"
  running "$2" || return 0
  kill "-$1" "$(cat "$dir/run/$2.pid")"
  until_true gone "$2" || die "$2 does not end"
}

# --- up, down, status

# Whatever they do: idle, at work, planned for a job, reserved.
nodes_there() {
  local states
  states="$(SLURM_CONF="$dir/$1/slurm.conf" sinfo -h -N -o %T 2>/dev/null)" || return 1
  [ -n "$states" ] && ! grep -qE 'down|drain|fail|inval|unk|[*]' <<<"$states"
}

# A job runs, and accounting hears of it (some time later).
works() {
  SLURM_CONF="$dir/$1/slurm.conf" timeout 60 srun -Q -J up hostname >/dev/null && until_true accounted "$1"
}

accounted() {
  SLURM_CONF="$dir/$1/slurm.conf" timeout 10 sacct -X -n -o jobid --name up 2>/dev/null | grep . >/dev/null
}

up() {
  local server cluster
  [ "$(id -u)" = 0 ] || die "make slurm-up needs root: it installs Debian packages and runs jobs as their users"
  install_packages slurm-wlm slurmdbd munge mariadb-server sudo
  if [ ! -e "$dir/ready" ]; then
    down # what a start that failed has left
    configure
    mariadb-install-db --no-defaults --user=mysql --datadir="$dir/mariadb/data" --skip-test-db >/dev/null 2>&1
    make_users
    start mariadb
    for cluster in "${clusters[@]}"; do
      start "munge-$cluster"
      start "slurmdbd-$cluster"
      make_accounts "$cluster" >/dev/null
    done
    touch "$dir/ready"
  fi
  for server in $(servers); do start "$server"; done
  for cluster in "${clusters[@]}"; do
    until_true nodes_there "$cluster" ||
      die "not all nodes of $cluster are there:" \
        "$(SLURM_CONF="$dir/$cluster/slurm.conf" sinfo -N -h -o '%N %T, %E;' | sort -u | xargs)"
    works "$cluster" || die "$cluster runs no job; see $dir/log"
  done
  status
}

status() {
  local server cluster
  [ -e "$dir/ready" ] || { echo "no clusters here; dev/slurm.sh up starts them"; return; }
  for server in $(servers); do
    printf '%-22s %s\n' "$server" "$(running "$server" && echo "runs, process $(cat "$dir/run/$server.pid")" || echo stopped)"
  done
  case "$(cgroups)" in
    none) echo "no control groups here: proctrack/linuxproc; a memory overrun is found by sampling" ;;
    *) echo "control groups $(cgroups): proctrack/cgroup, task/cgroup; a memory overrun is OUT_OF_MEMORY" ;;
  esac
  for cluster in "${clusters[@]}"; do
    echo "export SLURM_CONF=$dir/$cluster/slurm.conf"
  done
  echo "users: ${users[*]} (runuser -u ayni -- sbatch ...); what else there is: $dir/clusters.json"
}

# The processes of this set: servers, steps and what jobs started. An agent that talks to it is none of them,
# though its environment names the folder too.
ours() {
  local found pid
  for found in $(grep -lza "^SLURM_CONF=$dir/" /proc/[0-9]*/environ 2>/dev/null || true); do
    pid="${found//[^0-9]/}"
    grep -qza '^SLURM_JOB_ID=' "$found" 2>/dev/null ||
      grep -qxE 'munged|mariadbd|slurmdbd|slurmctld|slurmscriptd|slurmd|slurmstepd' "/proc/$pid/comm" 2>/dev/null ||
      continue
    echo "$pid"
  done
  control_groups | while read -r group; do cat "$group/cgroup.procs" 2>/dev/null || true; done
}

control_groups() {
  local cluster
  for cluster in "${clusters[@]}"; do
    find /sys/fs/cgroup -depth -type d \( -path "*/slurm_$cluster-*" -o -path "*/$cluster-n*_slurmstepd.scope*" \) 2>/dev/null
  done
}

none_left() { [ -z "$(ours)" ]; }

down() {
  local cluster server user
  [ -d "$dir" ] || return 0
  for cluster in "${clusters[@]}"; do
    running "slurmctld-$cluster" || continue
    SLURM_CONF="$dir/$cluster/slurm.conf" timeout 10 squeue -h -o %A | sort -u |
      SLURM_CONF="$dir/$cluster/slurm.conf" xargs -r scancel -Q || true
  done
  for server in $(servers | tac); do end KILL "$server"; done
  ours | xargs -r kill -KILL 2>/dev/null || true
  until_true none_left || die "these processes do not end: $(ours | xargs)"
  control_groups | xargs -r rmdir
  rm -f /etc/sudoers.d/ayni-live-* # what a test that was killed has left
  for user in $(cat "$dir/users" 2>/dev/null); do userdel "$user"; done
  rm -rf "$dir"
}

case "${1:-}" in
  up | down | status) [ $# = 1 ] || die "$1 takes no argument"; "$1" ;;
  start) shift; for server; do start "$server"; done ;;
  stop) shift; for server; do end TERM "$server"; done ;;
  kill) shift; for server; do end KILL "$server"; done ;;
  *) echo "usage: dev/slurm.sh up|down|status, or start|stop|kill SERVER..." >&2; exit 2 ;;
esac
