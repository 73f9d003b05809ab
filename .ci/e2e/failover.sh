#!/usr/bin/env bash
# Three endpoints at 500 GETs a second. One is killed, and one is frozen: no GET fails, and the endpoint is back when it is
# well. All are killed: 502 or 503 at once, and served again within 1.5 seconds. A reload and a hand-over keep an ejection.
source "$(dirname "$0")/lib.sh"
for name in one two three; do start_echo "$name"; done
stable_port=$one_port

# write_main BASE [LINES]: one route to the three endpoints, with this time of the first ejection.
write_main() {
  write_routes <<TOML
[upstream.main]
endpoints = ["http://127.0.0.1:$one_port", "http://127.0.0.1:$two_port", "http://127.0.0.1:$three_port"]
[upstream.main.outlier]
base_ejection = "$1"
[[route]]
name    = "all"
match   = { path = "/*" }
stable  = "main"
timeout = { request = "10s", per_try = "300ms" }
${2:-}
TOML
}

# state PORT: of this endpoint; an endpoint that waits for its try is still ejected.
state() {
  admin /status | json "next(end['standing'] for up in it['upstreams'] if up['name'] == 'main' for end in up['endpoints'] if end['address'].endswith(':$1'))" |
    sed 's/^trial$/ejected/'
}

# serving: the id of the process that serves; nothing if none does.
serving() {
  admin /status 2>/dev/null | json 'it["pid"]' 2>/dev/null || true
}

load() {
  start_load --gets --names one,two,three
}

write_main 1s
start_proxy

# ---- kill -9 for one of three
load
sleep 2
killed=$(now_ms)
kill_now "$three_pid"
eventually "the killed endpoint is ejected" ejected state "$three_port"
sleep 2
start_echo three "$three_port"
back=$(now_ms)
eventually "it is admitted" usable state "$three_port"
admitted=$(now_ms)
end_load 3
no_request "a GET fails although two endpoints are alive" '[^o].*'
equal "responses of the killed endpoint" 0 "$(served_ok three $((killed + 200)) $((back - 50)))"
within "responses of it after its admission" 200 10000000 "$(served_ok three $((admitted + 500)))"
within "latency in milliseconds while it is dead, p99" 0 400 "$(latency 99 ok "$killed" "$back")"
echo "   back after $((admitted - back)) ms"

# ---- SIGSTOP for one of three
load
sleep 3
frozen=$(now_ms)
kill -STOP "$three_pid"
eventually "the frozen endpoint is ejected" ejected state "$three_port"
ejected=$(now_ms)
sleep 3
kill -CONT "$three_pid"
eventually "it is admitted" usable state "$three_port"
admitted=$(now_ms)
end_load 3
no_request "a GET fails although two endpoints are alive" '[^o].*'
within "GETs that waited for the frozen endpoint" 1 400 "$(load_rows ok "$frozen" "$admitted" | awk '$2 >= 290' | wc -l)"
within "the longest latency in milliseconds" 290 3000 "$(latency 100 ok "$frozen" "$admitted")"
within "latency in milliseconds after its ejection, p95" 0 290 "$(latency 95 ok "$((ejected + 500))" "$admitted")"
within "responses of it after its admission" 200 10000000 "$(served_ok three $((admitted + 500)))"
echo "   ejected after $((ejected - frozen)) ms"

# ---- kill -9 for all
load
sleep 2
gone=$(now_ms)
for pid in "$one_pid" "$two_pid" "$three_pid"; do kill_now "$pid"; done
sleep 2
for name in one two three; do
  port_of=${name}_port
  start_echo "$name" "${!port_of}"
done
back=$(now_ms)
end_load 4
no_request "the response to another request, or none" 'wrong|late|refused|504'
within "requests with 502 or 503" 500 10000000 "$(requests '502|503' "$gone" "$back")"
within "their latency in milliseconds, p99" 0 300 "$(latency 99 '502|503' "$gone" "$back")"
no_request "a failure more than 1.5 s after the outage" '[^o].*' $((back + 1500))
within "correct responses after the outage" 500 10000000 "$(requests ok $((back + 1500)))"
for port_of in one_port two_port three_port; do eventually "all are usable again" usable state "${!port_of}"; done

# ---- a reload and a hand-over keep an ejection
write_main 300s
eventually "the new rules are in use" 300000 bash -c "curl -sS http://127.0.0.1:$admin_port/status | python3 -c 'import json, sys
print(next(up[\"outlier\"][\"base_ejection_ms\"] for up in json.load(sys.stdin)[\"upstreams\"] if up[\"name\"] == \"main\"))'"
kill_now "$three_pid"
# Between two failed connections, a worker avoids an endpoint for a second: the fifth failure takes seconds.
state_after_get() {
  local code
  code=$(status "http://127.0.0.1:$port/")
  [ "$code" = 200 ] || fail "a GET while one of three is dead gets $code"
  state "$three_port"
}
eventually "the killed endpoint is ejected" ejected state_after_get
start_echo three "$three_port"
generation=$(metric pointsman_config_generation)
write_main 300s 'limits  = { body = "1MiB" }'
eventually "the rules are reloaded" $((generation + 1)) metric pointsman_config_generation
equal "after a reload" ejected "$(state "$three_port")"
before=$(serving)
kill -USR2 "$before"
other() {
  local now
  now=$(serving)
  [ -z "$now" ] || [ "$now" = "$before" ] || echo yes
}
eventually "the next process serves" yes other
pids+=("$(serving)")
equal "after a hand-over" ejected "$(state "$three_port")"
for _ in $(seq 30); do equal "a GET after the hand-over" 200 "$(status "http://127.0.0.1:$port/")"; done
equal "after requests to the next process" ejected "$(state "$three_port")"
