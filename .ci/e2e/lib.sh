# shellcheck shell=bash
# What the end-to-end scripts share: a scratch folder, upstreams, the proxy, and words for what is expected.
# Source it; it ends what it started, by process id, however the script ends.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pointsman=${POINTSMAN:-$here/../../target/dist/pointsman}
# shellcheck source=SCRIPTDIR/../packages.sh
source "$here/../packages.sh"
scratch=$(mktemp -d)
pids=()
passed=0

finish() {
  local code=$? pid
  for pid in "${pids[@]}"; do
    kill -TERM "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
  done
  if [ "$code" -ne 0 ] && [ -f "$scratch/pointsman.log" ]; then
    echo "-- the proxy's own words:"
    tail -n 25 "$scratch/pointsman.log"
  fi
  rm -rf "$scratch"
  [ "$code" -ne 0 ] || echo "$(basename "$0"): $passed checks passed"
}
trap finish EXIT

fail() {
  echo "FAILED: $*"
  exit 1
}

# need TOOL…: says what is missing.
need() {
  local tool
  [ -x "$pointsman" ] || fail "no binary at $pointsman: run 'cargo build --profile dist', or name one: POINTSMAN=target/release/pointsman"
  for tool in "$@"; do command -v "$tool" >/dev/null || fail "$tool is missing"; done
}

# equal WHAT EXPECTED FOUND
equal() {
  [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
  passed=$((passed + 1))
}

# contains WHAT PATTERN TEXT, an extended regular expression
contains() {
  grep -qE -- "$2" <<<"$3" || fail "$1: nothing like '$2' in: $(head -c 1500 <<<"$3")"
  passed=$((passed + 1))
}

# within WHAT LOW HIGH FOUND
within() {
  [ "$4" -ge "$2" ] && [ "$4" -le "$3" ] || fail "$1: expected $2 to $3, found $4"
  passed=$((passed + 1))
}

# eventually WHAT EXPECTED COMMAND…: asks until it says so, for ten seconds.
eventually() {
  local what=$1 expected=$2 found="" end=$((SECONDS + 10))
  shift 2
  while [ "$SECONDS" -lt "$end" ]; do
    found=$("$@" 2>/dev/null || true)
    if [ "$found" = "$expected" ]; then
      passed=$((passed + 1))
      return 0
    fi
    sleep 0.05
  done
  fail "$what: expected '$expected', still '$found' after 10 s"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# free_ports NAME…: sets each to a port; no two are the same.
free_ports() {
  local name port
  while read -r name port; do printf -v "$name" '%s' "$port"; done < <(python3 -c 'import socket, sys
held = [(name, socket.create_server(("127.0.0.1", 0))) for name in sys.argv[1:]]
print("\n".join(f"{name} {one.getsockname()[1]}" for name, one in held))' "$@")
}

# python_packages FOLDER MODULES PACKAGE…: from PyPI into a folder of the tools', which is looked in from then on. They
# are kept for the next run. Modules are those by which it is known that all are there, with commas.
python_packages() {
  local folder=${target:-$here/../../target}/ci-tools/$1 modules=$2 said
  shift 2
  export PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH}
  python3 -c "import $modules" 2>/dev/null && return 0
  said=$(python_install "$folder" "$@") || fail "$* cannot be installed: $said"
  python3 -c "import $modules" || fail "$* are installed, and $modules cannot be imported"
}

# unpacked COMMAND PACKAGE: a command out of the system's package, which is not installed: nothing is to start by itself.
unpacked() {
  local folder=${target:-$here/../../target}/ci-tools/unpacked
  export PATH=$PATH:/usr/sbin:$folder/usr/sbin:$folder/usr/bin
  command -v "$1" >/dev/null && return 0
  mkdir -p "$folder"
  (cd "$folder" && timeout 120 apt-get download -qq "$2" && dpkg-deb -x "$2"_*.deb . && rm -f "$2"_*.deb) >/dev/null 2>&1 ||
    fail "$1 is missing, and the package $2 cannot be had"
}

# start_upstream NAME: sets NAME_port.
start_upstream() {
  local name=$1
  python3 "$here/upstream.py" "$name" "$scratch/$name.port" >"$scratch/$name.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do [ -s "$scratch/$name.port" ] && break; sleep 0.05; done
  [ -s "$scratch/$name.port" ] || fail "the upstream $name did not start: $(cat "$scratch/$name.log")"
  printf -v "${name}_port" '%s' "$(cat "$scratch/$name.port")"
}

# write_routes [EXTRA]: a routes.toml with stable and canary; the text on standard input is put at its end.
write_routes() {
  port=${port:-$(free_port)}
  admin_port=${admin_port:-$(free_port)}
  cat >"$scratch/routes.toml" <<TOML
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
endpoints = ["http://127.0.0.1:$canary_port"]

TOML
  cat >>"$scratch/routes.toml"
}

# start_pointsman: runs it on the file, with the words of run_options, and waits until it is ready. Sets pointsman_pid.
start_pointsman() {
  (cd "$scratch" && exec "$pointsman" run routes.toml --workers 1 ${run_options:-}) >"$scratch/pointsman.log" 2>&1 </dev/null &
  pointsman_pid=$!
  pids+=("$pointsman_pid")
  for _ in $(seq 200); do
    curl -fsS -o /dev/null "http://127.0.0.1:$admin_port/readyz" 2>/dev/null && return 0
    kill -0 "$pointsman_pid" 2>/dev/null || fail "pointsman ended at its start"
    sleep 0.05
  done
  fail "pointsman is not ready after 10 s"
}

# served CURL-ARGUMENTS…: who answered.
served() {
  curl -sS --max-time 10 -o /dev/null -D - "$@" | tr -d '\r' | sed -n 's/^x-served-by: //Ip'
}

# status CURL-ARGUMENTS…: the status code.
status() {
  curl -sS --max-time 10 -o /dev/null -w '%{http_code}' "$@"
}

# metric NAME: its value, the first series of that name.
metric() {
  curl -sS --max-time 10 "http://127.0.0.1:$admin_port/metrics" | awk -v name="$1" '$1 == name && !n++ { print $2 }'
}
