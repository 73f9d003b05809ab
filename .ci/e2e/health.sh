#!/usr/bin/env bash
# Active health checks at 250 GETs a second, with real services: one is killed, one is frozen, one says in its check that it is
# sick, all are sick: no GET fails that had a healthy endpoint, a backup takes over and leaves, and all sick is not all down. gRPC
# checks of two grpcio servers, TCP checks. A reload and a hand-over keep the verdicts.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
patience=180
docs=$(cd "$here/../../docs" && pwd)
python_packages grpcio grpc grpcio==1.85.3
for name in one two three spare raw; do start_echo "$name"; done
start_service rpc1 serving.py rpc1
start_service rpc2 serving.py rpc2
stable_port=$one_port

# write_web [LINES]: the upstreams, and routes to them.
write_web() {
  write_routes <<TOML
[upstream.web]
endpoints = ["http://127.0.0.1:$one_port", "http://127.0.0.1:$two_port", "http://127.0.0.1:$three_port",
             { url = "http://127.0.0.1:$spare_port", backup = true }]
health    = { path = "/healthz", interval = "250ms", timeout = "1500ms", unhealthy = 2 }
outlier   = { base_ejection = "1s" }

[upstream.rpc]
endpoints = ["h2c://127.0.0.1:$rpc1_port", "h2c://127.0.0.1:$rpc2_port"]
health    = { grpc = true, service = "shop", interval = "250ms", timeout = "2s", unhealthy = 2 }

[upstream.raw]
endpoints = ["http://127.0.0.1:$raw_port", "http://127.0.0.1:$one_port"]
health    = { tcp = true, interval = "250ms", timeout = "2s", unhealthy = 2 }

[[route]]
name   = "rpc"
match  = { grpc = { service = "shop.v1.Test" } }
stable = "rpc"
[[route]]
name   = "raw"
match  = { path = "/raw/*" }
stable = "raw"
[[route]]
name    = "all"
match   = { path = "/*" }
stable  = "web"
timeout = { request = "10s", per_try = "1s" }
${1:-}
TOML
}

# state PORT [UPSTREAM]: of this endpoint. What is ejected and sick is shown as unhealthy; what is ejected and well comes back soon.
state() {
  admin /v1/upstreams | json "next(end['standing'] for up in it['upstreams'] if up['name'] == '${2:-web}' for end in up['endpoints'] if end['address'].endswith(':$1'))"
}
# states: of the endpoints of web.
states() { admin /v1/upstreams | json "' '.join(end['standing'] for up in it['upstreams'] if up['name'] == 'web' for end in up['endpoints'])"; }
# turn NAME STATUS: what `/healthz` of the service answers from now on.
turn() {
  local port_of=$1_port
  curl -sS -o /dev/null "http://127.0.0.1:${!port_of}/sick/$2"
}
# serving: the id of the process that serves; nothing if none does.
serving() { admin /status 2>/dev/null | json 'it["pid"]' 2>/dev/null || true; }
load() { start_load --gets --rate 250 --names one,two,three,spare; }

write_web
checked=$("$pointsman" check "$scratch/routes.toml" 2>&1) || fail "the file is not valid: $checked"
start_proxy

echo "-- at the start"
eventually "a checked endpoint is usable, and the backup waits" "usable usable usable standby" states
for port_of in rpc1_port rpc2_port; do eventually "SERVING is usable" usable state "${!port_of}" rpc; done
eventually "what accepts connections is usable" usable state "$raw_port" raw
verdicts() { admin /v1/upstreams | json "' '.join(sorted({end['health']['verdict'] for up in it['upstreams'] if up['health'] for end in up['endpoints']}))"; }
eventually "each has a verdict" healthy verdicts

echo "-- kill -9 for one of three"
load
sleep 0.5
kill_now "$three_pid"
eventually "the killed endpoint is unhealthy" unhealthy state "$three_port"
dead=$(now_ms)
sleep 1
back=$(now_ms)
start_echo three "$three_port"
eventually "it is usable again" usable state "$three_port"
admitted=$(now_ms)
end_load 1
no_request "a GET fails although others are healthy" '[^o].*'
equal "responses of it while it was unhealthy" 0 "$(served_ok three "$dead" "$back")"
within "responses of it after it was back" 20 10000000 "$(served_ok three "$admitted")"

echo "-- SIGSTOP for one of three"
load
sleep 0.5
kill -STOP "$two_pid"
eventually "the frozen endpoint is unhealthy" unhealthy state "$two_port"
dead=$(now_ms)
sleep 1.5
back=$(now_ms)
kill -CONT "$two_pid"
eventually "it is usable again" usable state "$two_port"
admitted=$(now_ms)
end_load 1
no_request "a GET fails although others are healthy" '[^o].*'
# A request that waits for the frozen one waits for `per_try`.
equal "responses of it while it was unhealthy" 0 "$(served_ok two "$((dead + 500))" "$((back - 500))")"
within "latency in milliseconds meanwhile, p99" 0 900 "$(latency 99 ok "$((dead + 500))" "$((back - 500))")"
within "responses of it after it was back" 20 10000000 "$(served_ok two "$admitted")"

echo "-- an endpoint that serves, and says that it is sick; the backup"
load
turn one 503
eventually "it is unhealthy" unhealthy state "$one_port"
dead=$(now_ms)
contains "the list says why" "127\\.0\\.0\\.1:$one_port +unhealthy +[0-9]+ bad checks? in a row: .*503" "$(cd "$scratch" && "$pointsman" upstream ls web)"
contains "status has it" 'web: 2 of 4 usable' "$(cd "$scratch" && "$pointsman" status)"
sleep 1
for name in two three; do turn "$name" 500; done
eventually "the backup serves" usable state "$spare_port"
alone=$(now_ms)
sleep 0.5
for name in one two three; do turn "$name" 204; done
eventually "they are usable again, and the backup waits" "usable usable usable standby" states
over=$(now_ms)
end_load 1.5
no_request "a GET fails although the backup is healthy" '[^o].*'
equal "responses of the sick endpoint" 0 "$(served_ok one "$((dead + 500))" "$alone")"
within "responses of the backup" 20 10000000 "$(served_ok spare "$alone")"
equal "responses of the backup before" 0 "$(served_ok spare 0 "$dead")"
equal "responses of the backup afterwards" 0 "$(served_ok spare "$((over + 500))")"

echo "-- all say that they are sick: they are tried all the same"
load
for name in one two three spare; do turn "$name" 503; done
eventually "all are unhealthy" "unhealthy unhealthy unhealthy unhealthy" states
at_least "last resorts" 100 metric 'pointsman_upstream_last_resorts_total{upstream="web"}'
contains "status has it first" '0 of 4 usable' "$(cd "$scratch" && "$pointsman" status)"
for name in one two three spare; do turn "$name" 200; done
eventually "they serve as before" "usable usable usable standby" states
end_load 1
no_request "a GET fails although the services answer" '[^o].*'

echo "-- gRPC"
call() { timeout 30 python3 "$here/grpc_call.py" "127.0.0.1:$port" "$@"; }
rpc1() { timeout 30 python3 "$here/grpc_call.py" "127.0.0.1:$rpc1_port" "$@"; }
served_by() { call Name "" 30 | sort -u | paste -sd ' '; }
equal "both serve" "rpc1 rpc2" "$(served_by)"
rpc1 Set 2 >/dev/null
eventually "NOT_SERVING is unhealthy" unhealthy state "$rpc1_port" rpc
equal "calls go to the other" rpc2 "$(served_by)"
rpc1 Set 1 >/dev/null
eventually "SERVING is usable" usable state "$rpc1_port" rpc
kill_now "$rpc2_pid"
eventually "a dead one is unhealthy" unhealthy state "$rpc2_port" rpc
equal "calls go to the other" rpc1 "$(served_by)"
start_service rpc2 serving.py rpc2 "$rpc2_port"
eventually "it is back" usable state "$rpc2_port" rpc

echo "-- TCP"
kill_now "$raw_pid"
eventually "what accepts no connections is unhealthy" unhealthy state "$raw_port" raw
for _ in $(seq 10); do equal "the other one answers" 200 "$(status "http://127.0.0.1:$port/raw/x")"; done
start_echo raw "$raw_port"
eventually "it is back" usable state "$raw_port" raw

echo "-- a reload and a hand-over keep the verdicts"
load
turn one 503
eventually "it is unhealthy" unhealthy state "$one_port"
dead=$(now_ms)
generation=$(metric pointsman_config_generation)
write_web 'limits  = { body = "1MiB" }'
eventually "the rules are reloaded" $((generation + 1)) metric pointsman_config_generation
equal "after a reload" unhealthy "$(state "$one_port")"
changes=$(grep -c 'endpoint unhealthy' "$scratch/pointsman.log")
sleep 1
equal "no change in the log that is none" "$changes" "$(grep -c 'endpoint unhealthy' "$scratch/pointsman.log")"
before=$(serving)
kill -USR2 "$before"
other() {
  local now
  now=$(serving)
  [ -z "$now" ] || [ "$now" = "$before" ] || echo yes
}
eventually "the next process serves" yes other
pids+=("$(serving)")
equal "after a hand-over" unhealthy "$(state "$one_port")"
sleep 0.5
alive=$(now_ms)
turn one 200
eventually "the next process finds it well" usable state "$one_port"
end_load 1
no_request "a GET fails" '[^o].*'
equal "responses of the sick endpoint" 0 "$(served_ok one "$((dead + 500))" "$alive")"

echo "-- figures"
at_least "bad checks" 1 metric 'pointsman_health_checks_total{result="bad",upstream="web"}'
at_least "good checks" 10 metric 'pointsman_health_checks_total{result="good",upstream="web"}'
within "checks are on time, in whole seconds" 0 5 "$(metric 'pointsman_health_checks_late_seconds{upstream="web"}' | cut -d. -f1)"
eventually "endpoints of web that are usable" 3 metric 'pointsman_upstream_endpoints_state{state="usable",upstream="web"}'
eventually "endpoints of web that wait" 1 metric 'pointsman_upstream_endpoints_state{state="standby",upstream="web"}'

echo "-- the page"
mkdir -p "$scratch/page/endpoints"
printf '%s\n' "http://127.0.0.1:$one_port" "http://127.0.0.1:$two_port weight=2" "http://127.0.0.1:$three_port backup" \
  >"$scratch/page/endpoints/checkout.txt"
turn two 503
free_ports page_port page_admin
cat >"$scratch/page/routes.toml" <<TOML
schema = 1
[[listener]]
address = "127.0.0.1:$page_port"
[admin]
address = "127.0.0.1:$page_admin"
[access_log]
sink = "access.log"
[upstream.checkout]
endpoints  = { file = "endpoints/checkout.txt" }
slow_start = "1s"
[upstream.checkout.health]
path     = "/healthz"
interval = "500ms"
[[route]]
name   = "checkout"
match  = { path = "/*" }
stable = "checkout"
TOML
(cd "$scratch/page" && exec "$pointsman" run routes.toml --workers 1) >"$scratch/page.log" 2>&1 </dev/null &
pids+=($!)
page_ready() { status "http://127.0.0.1:$page_admin/readyz"; }
eventually "the page's proxy is ready" 200 page_ready
python_checks "docs/upstreams.md" documents.py "$pointsman" "$scratch/page" \
  "8080=$page_port,9900=$page_admin,8101=$one_port,8102=$two_port,8103=$three_port" "$docs/upstreams.md"
