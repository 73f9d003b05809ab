#!/usr/bin/env bash
# SIGTERM under load: everything that was begun is answered in full, and the exit code is 0.
source "$(dirname "$0")/lib.sh"
need curl python3

start_upstream stable
start_upstream canary
write_routes <<'TOML'
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 20 }
TOML
start_pointsman

python3 "$here/closed_loop.py" "$port" 5 16 "$scratch/load.json" &
load_pid=$!
pids+=("$load_pid")
sleep 2
curl -sS --max-time 20 -o "$scratch/slow" -w '%{http_code}' "http://127.0.0.1:$port/slow?ms=1500" >"$scratch/slow.code" &
slow_pid=$!
sleep 0.5
kill -TERM "$pointsman_pid"
code=0
wait "$pointsman_pid" || code=$?
equal "exit code after a drain" 0 "$code"
wait "$slow_pid" || fail "the request that was under way was cut"
equal "the request that was under way" 200 "$(cat "$scratch/slow.code")"
wait "$load_pid"
cat "$scratch/load.json"; echo
equal "failed requests" 0 "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["failed"])' "$scratch/load.json")"
within "answered requests" 100 10000000 "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["answered"])' "$scratch/load.json")"
equal "nobody listens any more" 7 "$(curl -sS -o /dev/null "http://127.0.0.1:$port/" 2>/dev/null; echo $?)"
