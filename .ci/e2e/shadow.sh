#!/usr/bin/env bash
# A shadow with curl, a shop in Python and grpcio: copies equal their requests, the report names the real difference and not
# the noise, `ignore` removes fields from it, and the metrics add up. A shadow that is stopped, silent or sends bombs affects no
# request, `kill.all` stops copies, and gRPC calls are copied message by message.
source "$(dirname "$0")/lib.sh"
need nghttp promtool
start_service stable shop.py 1 "$scratch/stable.seen"
start_service shadow shop.py 3 "$scratch/shadow.seen"
# routes COMPARE-LINES [KILL-ALL]
routes() {
  write_routes <<TOML
[upstream.v3]
endpoints = ["http://127.0.0.1:$shadow_port"]

[[route]]
name   = "shop"
match  = { path = "/*" }
stable = "v1"
[route.shadow]
upstream = "v3"
weight   = 100
methods  = ["GET", "HEAD", "POST"]
timeout  = "1s"
[route.shadow.compare]
control = 50
redact  = []
$1
[kill]
all = ${2:-false}
TOML
}
routes ""
start_proxy
base=http://127.0.0.1:$port

sum() {
  metric_sum "pointsman_shadow_$1" "${2:-}"
}
# Every copy is counted: sampled = in flight + sent + dropped, and sent = completed.
add_up() {
  admin /metrics | awk '
    /^pointsman_shadow_sampled_total/ { sampled += $2 } /^pointsman_shadow_in_flight/ { in_flight += $2 }
    /^pointsman_shadow_sent_total/ { sent += $2 } /^pointsman_shadow_dropped_total/ { dropped += $2 }
    /^pointsman_shadow_completed_total/ { completed += $2 }
    END { print (sampled == in_flight + sent + dropped && sent == completed) ? "yes" : sampled "=" in_flight "+" sent "+" dropped ", " sent "=" completed }'
}

# Requests of many kinds.
head -c 60000 /dev/urandom >"$scratch/body"
for n in $(seq 40); do
  curl -sS --fail -o /dev/null "$base/items/$n?q=$n&q=&x=%C3%A9%2F" -H 'x-twice: a' -H 'x-twice: b' -H 'x-empty;' -H 'cookie: a=1; b=2'
  curl -sS --fail -o /dev/null --compressed "$base/items/$n"
  curl -sS --fail -o /dev/null --head "$base/items/$n"
  curl -sS --fail -o /dev/null --data-binary "@$scratch/body" "$base/orders/$n"
  curl -sS --fail -o /dev/null -H 'transfer-encoding: chunked' --data-binary "@$scratch/body" "$base/orders/$n"
  curl -sS --fail -o /dev/null --http2-prior-knowledge -H "x-name: $(printf 'caf\xc3\xa9')" "$base/items/$n"
done
# HTTP/1.1 has no trailers after a body with a length; the body is forwarded without them.
nghttp -d "$scratch/body" --trailer 'x-sum: 1' "$base/orders/0" >/dev/null || fail "nghttp"
eventually "all copies were sent" 241 sum sent_total
equal "the metrics add up" yes "$(add_up)"
equal "copies equal their requests" 241 "$(python3 "$here/shadow_copies.py" "$scratch/stable.seen" "$scratch/shadow.seen")"

# The report. Callers get the responses of the old version.
equal "callers get the old price" 160 "$(curl -sS "$base/items/3" | json 'it["price_cents"]')"
report() { "$pointsman" compare --admin "http://127.0.0.1:$admin_port" "$@"; }
# field PATH: what the report says of it.
field() {
  report --format json | json "' '.join(one['verdict'] for one in it['routes'][0]['comparison']['fields'] if one['path'] == '$1')"
}
browse() { curl -sS -o /dev/null "$base/items/[0-99]"; field "$1"; }
eventually "the price differs" confirmed browse '$.price_cents'
eventually "the id is noise" noisy browse '$.request'
equal "nothing else differs" "" "$(field '$.tags[*]')$(field '$.item')$(field header:date)"
contains "the table has it" 'ignore = \["\$\.price_cents"\]' "$(report)"
contains "Markdown has it" '^\| `\$\.price_cents` \| value \| confirmed' "$(report --format md)"
equal "the metric counts it" 1 "$(sum fields 'verdict="confirmed"')"
admin /metrics >"$scratch/metrics"
silent "promtool" promtool check metrics <"$scratch/metrics"
contains "the log marks copies" '"event":"shadow"' "$(cat "$scratch/access.log")"
python3 - "$scratch/access.log" <<'PYTHON' || fail "a copy has a line and its request has none"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
own = {line["request_id"] for line in lines if "event" not in line}
sys.exit(not all(line["request_id"] in own for line in lines if line.get("event") == "shadow"))
PYTHON
output=$(report --route shopp 2>&1) && fail "compare accepts an unknown route"
contains "compare lists the routes" 'shop' "$output"

# The suggested line, pasted.
line=$(report | grep -oE 'ignore = \["\$\.(price_cents)"\]' | head -n 1)
routes "${line/]/, \"\$.request\"]}"
equal "the file is valid" 0 "$(exit_code "$pointsman" check "$scratch/routes.toml")"
differences() {
  curl -sS -o /dev/null "$base/items/[0-29]"
  report --format json | json '(lambda found: (found["compared"] >= 20, found["different"]))(it["routes"][0]["comparison"] or {"compared": 0, "different": 0})'
}
eventually "ignored fields do not differ" "(True, 0)" differences

# Bombs, deep nesting, new field names each time and invalid JSON: callers get the whole response, and the report stays small.
bomb=$(curl -sS "$base/bomb" | sha256sum)
equal "a bomb is forwarded unchanged" "$(curl -sS "http://127.0.0.1:$stable_port/bomb" | sha256sum)" "$bomb"
for path in bomb deep broken; do
  for _ in $(seq 5); do equal "$path" 200 "$(status "$base/$path")"; done
done
for _ in $(seq 60); do curl -sS -o /dev/null "$base/many"; done
eventually "all copies ended" 0 sum in_flight
within "bytes of the report after 120 000 field names" 1000 2000000 "$(admin /shadow | wc -c)"
within "MiB of memory" 1 192 "$(memory_mib VmHWM)"
eventually "no copy holds memory" 0 metric pointsman_shadow_held_bytes
equal "the metrics add up after bombs" yes "$(add_up)"

# A shadow that is silent, then stopped: no request waits.
# slowest: how many of 200 requests failed, and the longest time in milliseconds.
slowest() { curl -sS -o /dev/null -w '%{time_total} %{http_code}\n' "$base/items/[0-199]" | awk '$2 != 200 { bad++ } $1 > most { most = $1 } END { print bad + 0, int(most * 1000) }'; }
kill -STOP "$shadow_pid"
read -r bad most < <(slowest)
equal "requests that failed while the shadow was silent" 0 "$bad"
within "the longest time in milliseconds" 0 700 "$most"
eventually "its copies time out" 0 sum in_flight
within "copies that timed out" 1 1000 "$(sum dropped_total 'reason="timeout"')"
kill_now "$shadow_pid"
read -r bad most < <(slowest)
equal "requests that failed while the shadow was stopped" 0 "$bad"
within "copies without a connection" 1 1000 "$(sum dropped_total 'reason="connect"')"
copied_above() { awk -v ratio="$(sum weight_actual_ratio)" -v limit="$1" 'BEGIN { print (ratio > limit) ? "yes" : "no" }'; }
equal "fewer requests are copied" no "$(copied_above 0.999)"
equal "the metrics add up after that" yes "$(add_up)"
start_service shadow shop.py 3 "$scratch/shadow.seen" "$shadow_port"
recovered() { curl -sS -o /dev/null "$base/items/[0-9]"; copied_above 0.1; }
eventually "the share grows again" yes recovered

# The kill.
routes "" true
eventually "the kill is active" 3 metric pointsman_config_generation
before=$(sum sent_total) killed=$(sum dropped_total 'reason="killed"')
equal "failed requests under the kill" 0 "$(slowest | cut -d' ' -f 1)"
equal "no request is copied under the kill" "$before" "$(sum sent_total)"
within "dropped copies are counted" 1 200 "$(($(sum dropped_total 'reason="killed"') - killed))"
equal "the metrics add up at the end" yes "$(add_up)"

# gRPC: the same calls, message by message.
python_packages grpcio grpc grpcio==1.85.3
start_service calls shadow_calls.py serve "$scratch/calls.seen"
start_service copies shadow_calls.py serve "$scratch/copies.seen"
cat >>"$scratch/routes.toml" <<TOML
[upstream.calls]
endpoints = ["h2c://127.0.0.1:$calls_port"]
[upstream.calls-shadow]
endpoints = ["h2c://127.0.0.1:$copies_port"]
[[route]]
name   = "calls"
match  = { grpc = { service = "shop.v1.Test" } }
stable = "calls"
shadow = { upstream = "calls-shadow", weight = 100, methods = ["POST"], compare = { control = 50, redact = [] } }
TOML
sed -i 's/^all = true/all = false/' "$scratch/routes.toml"
eventually "gRPC is routed" 4 metric pointsman_config_generation
python_checks "calls" shadow_calls.py call "$port" 200
eventually "all calls were copied" 200 sum sent_total 'route="calls"'
equal "copies equal their calls" 200 "$(python3 "$here/shadow_copies.py" "$scratch/calls.seen" "$scratch/copies.seen")"
calls_compared() { report --route calls --format json | json '[it["routes"][0]["comparison"][name] for name in ("compared", "different")]'; }
eventually "calls are compared, and equal" "[200, 0]" calls_compared
