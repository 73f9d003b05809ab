# shellcheck shell=bash
# Shared by the end-to-end scripts: a scratch folder, services, the proxy, load, and assertions. Source it. At exit it
# ends every process that it started, by process id.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pointsman=${POINTSMAN:-$here/../../target/dist/pointsman}
# shellcheck source=SCRIPTDIR/../packages.sh
source "$here/../packages.sh"
export PYTHONDONTWRITEBYTECODE=1
scratch=$(mktemp -d)
pids=() passed=0 group="" port="" admin_port="" proxy_pid=""
# Commands that undo changes to the system: before and after the processes end.
undo_first=() undo_last=()
# Set by start_service.
stable_pid="" canary_pid="" stable_port="" canary_port=""

finish() {
  local code=$? command pid
  set +e
  for command in "${undo_first[@]}"; do eval "$command"; done
  [ ${#pids[@]} -eq 0 ] || kill -TERM "${pids[@]}" 2>/dev/null
  for pid in "${pids[@]}"; do
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
    kill -KILL "$pid" 2>/dev/null
  done
  for command in "${undo_last[@]}"; do eval "$command"; done
  if [ "$code" -ne 0 ] && [ -f "$scratch/pointsman.log" ]; then
    echo "-- the end of the proxy's log:"
    tail -n 25 "$scratch/pointsman.log"
  fi
  rm -rf "$scratch"
  [ "$code" -ne 0 ] || echo "$(basename "$0"): $passed checks passed"
  exit "$code"
}
trap finish EXIT

# ---- assertions

fail() {
  echo "FAILED: $*"
  exit 1
}

not_checked() {
  echo "NOT CHECKED: $*"
}

# need COMMAND…: fails if one is missing.
need() {
  local name
  for name in "$@"; do command -v "$name" >/dev/null || fail "$name is missing"; done
}

# equal WHAT EXPECTED FOUND
equal() {
  [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
  passed=$((passed + 1))
}

# contains WHAT PATTERN TEXT: PATTERN is an extended regular expression.
contains() {
  grep -qE -- "$2" <<<"$3" || fail "$1: '$2' does not match: $(head -c 1500 <<<"$3")"
  passed=$((passed + 1))
}

# within WHAT LOW HIGH FOUND
within() {
  [ "$4" -ge "$2" ] && [ "$4" -le "$3" ] || fail "$1: expected $2 to $3, found $4"
  passed=$((passed + 1))
}

# eventually WHAT EXPECTED COMMAND…: repeats the command until it prints EXPECTED, for so many seconds.
patience=20
eventually() {
  local what=$1 expected=$2 found="" end=$((SECONDS + patience))
  shift 2
  while [ "$SECONDS" -lt "$end" ]; do
    found=$("$@" 2>/dev/null || true)
    if [ "$found" = "$expected" ]; then
      passed=$((passed + 1))
      return 0
    fi
    sleep 0.05
  done
  fail "$what: expected '$expected', found '$found' after $patience s"
}

# at_least WHAT LOW COMMAND…: repeats the command until it prints LOW or more.
at_least() {
  reaches() { [ "$("${@:2}")" -ge "$1" ] && echo yes; }
  eventually "$1: $2 or more" yes reaches "$2" "${@:3}"
}

# silent WHAT COMMAND…: succeeds and prints nothing.
silent() {
  local what=$1 output
  shift
  output=$("$@" 2>&1) || fail "$what: $output"
  equal "$what prints nothing" "" "$output"
}

# exit_code COMMAND…
exit_code() {
  local code=0
  timeout 20 "$@" >/dev/null 2>&1 || code=$?
  echo "$code"
}

# python_checks WHAT SCRIPT ARGUMENTS…: the script prints how many checks passed.
python_checks() {
  local checks
  checks=$(timeout 120 python3 "$here/$2" "${@:3}" 2>"$scratch/python.log") || fail "$1: $(tail -n 5 "$scratch/python.log")"
  cat "$scratch/python.log"
  passed=$((passed + checks))
}

# json EXPRESSION: the value of a Python expression over `it`, the JSON of standard input.
json() {
  python3 -c 'import json, sys
it = json.load(sys.stdin)
print(eval(sys.argv[1]))' "$1"
}

# count_lines FILE PATTERN
count_lines() {
  grep -cE -- "$2" "$1" || true
}

# ---- ports, files, packages

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# free_ports NAME…: sets each to a port; no two are the same.
free_ports() {
  local name value
  while read -r name value; do printf -v "$name" '%s' "$value"; done < <(python3 -c 'import socket, sys
sockets = [(name, socket.create_server(("127.0.0.1", 0))) for name in sys.argv[1:]]
print("\n".join(f"{name} {one.getsockname()[1]}" for name, one in sockets))' "$@")
}

# self_signed FILE NAME [SUBJECT-ALTERNATIVE-NAMES]: FILE.crt and FILE.key, for CN=NAME.
self_signed() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj "/CN=$2" \
    -addext "subjectAltName=${3:-DNS:$2}" -addext basicConstraints=critical,CA:FALSE -keyout "$1.key" -out "$1.crt" 2>/dev/null ||
    fail "openssl cannot make a certificate for $2"
}

# python_packages FOLDER MODULES PACKAGE…: installs packages of PyPI in a folder beside the other tools, once, and puts it
# on Python's path. MODULES (with commas) are imported to see whether all packages are there.
python_packages() {
  local folder=${target:-$here/../../target}/ci-tools/$1 modules=$2 output
  shift 2
  export PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH}
  python3 -c "import $modules" 2>/dev/null && return 0
  output=$(python_install "$folder" "$@") || fail "$* cannot be installed: $output"
  python3 -c "import $modules" || fail "$* are installed, and $modules cannot be imported"
}

# unpacked COMMAND PACKAGE: takes a command out of its Debian package. The package is not installed, since that may start a
# service.
unpacked() {
  local folder=${target:-$here/../../target}/ci-tools/unpacked
  export PATH=$PATH:/usr/sbin:$folder/usr/sbin:$folder/usr/bin
  command -v "$1" >/dev/null && return 0
  mkdir -p "$folder"
  (cd "$folder" && timeout 120 apt-get download -qq "$2" && dpkg-deb -x "$2"_*.deb . && rm -f "$2"_*.deb) >/dev/null 2>&1 ||
    fail "$1 is missing, and the package $2 cannot be downloaded"
}

# ---- services

# wait_for_file FILE PID: until the process has written it, for 20 seconds.
wait_for_file() {
  for _ in $(seq 800); do
    [ -s "$1" ] && return 0
    kill -0 "$2" 2>/dev/null || break
    sleep 0.025
  done
  [ -s "$1" ]
}

# try_service NAME SCRIPT [ARGUMENTS…]: starts a Python service, which writes its port to $PORT_FILE. Sets NAME_port and
# NAME_pid; its log is $scratch/NAME.log.
try_service() {
  local port_file=$scratch/$1.port
  rm -f "$port_file"
  PORT_FILE=$port_file python3 "$here/$2" "${@:3}" >>"$scratch/$1.log" 2>&1 &
  pids+=($!)
  printf -v "$1_pid" '%s' $!
  wait_for_file "$port_file" $! && printf -v "$1_port" '%s' "$(<"$port_file")"
}

start_service() {
  try_service "$@" || fail "the service $1 did not start: $(tail -n 5 "$scratch/$1.log")"
}

# start_upstreams NAME…: each returns its name and what it received.
start_upstreams() {
  local name
  for name in "$@"; do start_service "$name" upstream.py "$name"; done
}

# start_echo NAME [PORT [ADDRESS]]: an upstream whose responses the load generator can check.
start_echo() {
  start_service "$1" echo.py "$@"
}

# start_nginx: with the `server` blocks of standard input. Sets nginx_pid.
start_nginx() {
  mkdir -p "$scratch/nginx"
  {
    cat <<CFG
worker_processes 1;
daemon off;
pid $scratch/nginx/pid;
error_log $scratch/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $scratch/nginx/a; proxy_temp_path $scratch/nginx/b; fastcgi_temp_path $scratch/nginx/c;
  uwsgi_temp_path $scratch/nginx/d; scgi_temp_path $scratch/nginx/e;
CFG
    cat
    echo "}"
  } >"$scratch/nginx.conf"
  nginx -p "$scratch/nginx" -c "$scratch/nginx.conf" >"$scratch/nginx.log" 2>&1 &
  nginx_pid=$!
  pids+=($!)
}

# kill_now PID: SIGKILL, and waits until the process is gone.
kill_now() {
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# ---- the proxy

# write_routes: a routes.toml with the upstreams v1 (stable) and v2 (canary); standard input is appended.
write_routes() {
  [ -n "$port" ] || free_ports port admin_port
  cat - >"$scratch/routes.end"
  cat - "$scratch/routes.end" >"$scratch/routes.next" <<TOML
schema = 1

[[listener]]
address = "127.0.0.1:$port"
[admin]
address = "127.0.0.1:$admin_port"
[access_log]
sink = "$scratch/access.log"

[upstream.v1]
endpoints = ["http://127.0.0.1:$stable_port"]
[upstream.v2]
endpoints = ["http://127.0.0.1:${canary_port:-$stable_port}"]

TOML
  mv "$scratch/routes.next" "$scratch/routes.toml"
}

# write_split WEIGHT [LINES]: routes.toml with one route, whose canary has this weight.
write_split() {
  write_routes <<TOML
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = $1 }
${2:-}
TOML
}

# LINES for write_split: the load generator's cookie decides.
sticky_by_cookie='sticky = ["user"]
[identity]
user = ["cookie:uid"]'

# set_weight OLD NEW: edits routes.toml in place.
set_weight() {
  sed -i "s/weight = $1 /weight = $2 /" "$scratch/routes.toml"
}

# launch COMMAND…: in the scratch folder, with pointsman.log as its output. Sets proxy_pid.
launch() {
  (cd "$scratch" && exec "$@") >"$scratch/pointsman.log" 2>&1 </dev/null &
  proxy_pid=$!
  pids+=("$proxy_pid")
}

# start_proxy [ARGUMENTS…]: `pointsman ARGUMENTS`, or with one worker on routes.toml; waits until it is ready.
start_proxy() {
  [ $# -gt 0 ] || set -- run routes.toml --workers 1
  launch "$pointsman" "$@"
  for _ in $(seq 400); do
    curl -fsS -o /dev/null "http://127.0.0.1:$admin_port/readyz" 2>/dev/null && return 0
    kill -0 "$proxy_pid" 2>/dev/null || fail "pointsman ended at its start"
    sleep 0.05
  done
  fail "pointsman is not ready after 20 s"
}

# stop_proxy: SIGTERM; the proxy must drain and exit with 0.
stop_proxy() {
  local code=0
  kill -TERM "$proxy_pid"
  wait "$proxy_pid" || code=$?
  equal "the exit code after a drain" 0 "$code"
}

# wrap_proxy COMMANDS: from now on a shell runs these before the proxy.
wrap_proxy() {
  printf '#!/bin/sh\n%s\nexec "%s" "$@"\n' "$1" "$(realpath "$pointsman")" >"$scratch/wrapped"
  chmod +x "$scratch/wrapped"
  pointsman=$scratch/wrapped
}

# control_group CONTROLLER FILE=VALUE…: creates a control group with these limits, in the first hierarchy of version 1 or
# 2 that can be written, and starts the proxy in it from now on. FILE and VALUE may be old|new for the two versions. Sets
# group; fails where no group can be created.
control_group() {
  local controller=$1 folder version pair name value
  shift
  for folder in "/sys/fs/cgroup/$controller" /sys/fs/cgroup /sys/fs/cgroup/unified; do
    version=1
    if [ -e "$folder/cgroup.controllers" ]; then
      version=2
      grep -qw "$controller" "$folder/cgroup.subtree_control" 2>/dev/null ||
        echo "+$controller" 2>/dev/null >"$folder/cgroup.subtree_control" || continue
    elif [ "$folder" != "/sys/fs/cgroup/$controller" ]; then
      continue
    fi
    group=$folder/pointsman-e2e-$$
    mkdir "$group" 2>/dev/null || continue
    undo_last+=("rmdir '$group'")
    for pair in "$@"; do
      name=${pair%%=*} value=${pair#*=}
      if [ "$version" = 1 ]; then name=${name%%|*} value=${value%%|*}; else name=${name#*|} value=${value#*|}; fi
      [ "$name" = - ] || echo "$value" 2>/dev/null >"$group/$name" || break 2
    done
    # The kernel may refuse processes in a group that it let us create.
    sh -c "echo \$\$ >'$group/cgroup.procs'" 2>/dev/null || continue
    wrap_proxy "echo \$\$ >'$group/cgroup.procs'"
    return 0
  done
  group=""
  return 1
}

# limit_memory MIB: of the proxy, with a control group.
limit_memory() {
  control_group memory "memory.limit_in_bytes|memory.max=$(($1 << 20))" ||
    not_checked "a control group of $1 MiB: none can be created here; the resident memory is checked instead"
}

# memory_mib VmRSS|VmHWM: the proxy's resident memory, now or at most.
memory_mib() {
  awk -v name="$1:" '$1 == name { print int($2 / 1024) }' "/proc/$proxy_pid/status"
}

# cpu_ms: the proxy's CPU time so far.
cpu_ms() {
  sed 's/.*) //' "/proc/$proxy_pid/stat" | awk -v hz="$(getconf CLK_TCK)" '{ print int(($12 + $13) * 1000 / hz) }'
}

# admin PATH [CURL-ARGUMENTS…]
admin() {
  curl -sS --max-time 30 "${@:2}" "http://127.0.0.1:$admin_port$1"
}

# metric NAME: the value of the series with exactly this name and labels.
metric() {
  admin /metrics | awk -v name="$1" '$1 == name && !n++ { print $2 }'
}

# metric_sum FAMILY [LABELS]: over the series of the family with these labels.
metric_sum() {
  admin /metrics | awk -v family="$1{" -v labels="${2:-}" \
    'index($1, family) == 1 && index($1, labels) { n += $NF } END { print n + 0 }'
}

# served CURL-ARGUMENTS…: the name of the upstream that served the request.
served() {
  curl -sS --max-time 10 -o /dev/null -D - "$@" | tr -d '\r' | sed -n 's/^x-served-by: //Ip'
}

# status CURL-ARGUMENTS…: the status code.
status() {
  curl -sS --max-time 10 -o /dev/null -w '%{http_code}' "$@"
}

# seen_header NAME CURL-ARGUMENTS…: the values of a header that the upstream received; the URL ends with /headers.
seen_header() {
  curl -sS --max-time 10 "${@:2}" | json "'\\n'.join(value for name, value in it['headers'] if name == '$1')"
}

# ---- load

now_ms() {
  date +%s%3N
}

# start_load [OPTIONS…]: 500 requests a second to the proxy, each response checked, until end_load. See open_loop.py.
start_load() {
  rm -f "$scratch/load.tsv" "$scratch/load.started"
  python3 "$here/open_loop.py" "$port" "$scratch/load" "$@" &
  load_pid=$!
  pids+=("$load_pid")
  wait_for_file "$scratch/load.started" "$load_pid" || fail "the load generator did not start"
  load_from=$(now_ms)
}

# end_load [SECONDS]: ends the load after so many seconds more and prints the outcomes, which are in $scratch/load.tsv.
end_load() {
  sleep "${1:-0}"
  kill -TERM "$load_pid"
  load_ms=$(($(now_ms) - load_from))
  wait "$load_pid" || fail "the load generator failed"
  [ -s "$scratch/load.tsv" ] || fail "the load generator has no result"
  awk -F'\t' '
    { n[$3]++; sum[$3] += $2; if ($2 > most[$3]) most[$3] = $2 }
    END { for (k in n) printf "   %-8s %6d  mean %7.1f ms  most %7.1f ms\n", k, n[k], sum[k] / n[k], most[k] }
  ' "$scratch/load.tsv" | sort
}

# load_rows OUTCOME [FROM TO [NAME]]: rows of the requests with this outcome (a regular expression) that were sent between
# two times (milliseconds) and were served by NAME.
load_rows() {
  awk -F'\t' -v outcome="^($1)\$" -v from="${2:-0}" -v to="${3:-9e15}" -v name="${4:-}" \
    '$3 ~ outcome && $1 >= from && $1 < to && (name == "" || $4 == name)' "$scratch/load.tsv"
}

# requests OUTCOME [FROM TO]: how many.
requests() {
  load_rows "$@" | wc -l
}

# served_ok NAME [FROM TO]: how many correct responses came from there.
served_ok() {
  load_rows ok "${2:-0}" "${3:-9e15}" "$1" | wc -l
}

# latency PERCENTILE OUTCOME [FROM TO]: in whole milliseconds.
latency() {
  load_rows "${@:2}" | cut -f2 | sort -n |
    awk -v percentile="$1" '{ all[NR] = $1 } END { printf "%d\n", NR ? all[int((NR - 1) * percentile / 100) + 1] : 0 }'
}

# no_request WHAT OUTCOME [FROM TO]: there is none; otherwise the first ones are printed.
no_request() {
  local rows
  rows=$(load_rows "${@:2}")
  [ -z "$rows" ] || fail "$1: $(wc -l <<<"$rows") requests: $(head -n 5 <<<"$rows")"
  passed=$((passed + 1))
}

# all_ok: every request got its own response, and at least 400 a second were sent.
all_ok() {
  no_request "not every request got its response" '[^o].*'
  within "requests with a correct response" $((load_ms * 4 / 10)) 10000000 "$(requests ok)"
}

[ -x "$pointsman" ] || fail "no binary at $pointsman: run 'cargo build --profile dist', or name one: POINTSMAN=target/debug/pointsman"
need curl python3
