#!/usr/bin/env bash
# SIGTERM under load: every request in flight gets its whole response, and the exit code is 0.
source "$(dirname "$0")/lib.sh"
start_upstreams stable canary
write_split 20
start_proxy

python3 "$here/closed_loop.py" "$port" 16 "$scratch/load.json" &
load_pid=$!
pids+=("$load_pid")
under_load() { [ "$(metric_sum pointsman_requests_total)" -ge 500 ] && echo yes; }
eventually "the load runs" yes under_load
curl -sS --max-time 20 -o "$scratch/slow" -w '%{http_code}' "http://127.0.0.1:$port/slow?ms=1500" >"$scratch/slow.code" &
slow_pid=$!
in_flight() { cat "$scratch/stable.log" "$scratch/canary.log" | grep -c 'ms=1500'; }
eventually "an upstream received the slow request" 1 in_flight
stop_proxy
wait "$slow_pid" || fail "the slow request was cut"
equal "the slow request" 200 "$(<"$scratch/slow.code")"
wait "$load_pid"
cat "$scratch/load.json"; echo
equal "failed requests" 0 "$(json 'it["failed"]' <"$scratch/load.json")"
within "requests with a response" 100 10000000 "$(json 'it["answered"]' <"$scratch/load.json")"
equal "curl cannot connect any more" 7 "$(exit_code curl -sS "http://127.0.0.1:$port/")"
