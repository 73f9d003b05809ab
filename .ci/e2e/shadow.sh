#!/usr/bin/env bash
# A dark launch with curl, a shop in Python and grpcio: copies are what their requests were, the report names the real
# difference and not the noise, `ignore` silences what it lists, figures add up for promtool, a shadow that is gone or
# silent or hands out bombs hurts nobody, `kill.all` stops copies, and gRPC calls are copied message by message.
source "$(dirname "$0")/lib.sh"
need curl nghttp promtool python3

# start_shop NAME VERSION [PORT]: sets NAME_port and NAME_pid.
start_shop() {
  rm -f "$scratch/$1.port"
  python3 "$here/shop.py" "$2" "$scratch/$1.port" "$scratch/$1.seen" ${3:-} >"$scratch/$1.log" 2>&1 &
  pids+=($!)
  printf -v "$1_pid" '%s' $!
  for _ in $(seq 100); do [ -s "$scratch/$1.port" ] && break; sleep 0.05; done
  [ -s "$scratch/$1.port" ] || fail "the shop $1 did not start: $(cat "$scratch/$1.log")"
  printf -v "$1_port" '%s' "$(cat "$scratch/$1.port")"
}
start_shop stable 1
start_shop dark 3
canary_port=$stable_port
routes() {
  write_routes <<TOML
[upstream.v3]
endpoints = ["http://127.0.0.1:$dark_port"]

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
start_pointsman
base=http://127.0.0.1:$port

# sum NAME [LABELS]: of all series of that name with these labels.
sum() {
  curl -sS --max-time 10 "http://127.0.0.1:$admin_port/metrics" |
    awk -v name="pointsman_shadow_$1" -v labels="${2:-}" 'index($1, name "{") == 1 && index($1, labels) { n += $2 } END { print n + 0 }'
}
# Every copy is accounted for: sampled = in flight + sent + dropped, and sent = completed.
add_up() {
  curl -sS --max-time 10 "http://127.0.0.1:$admin_port/metrics" | awk '
    /^pointsman_shadow_sampled_total/ { sampled += $2 } /^pointsman_shadow_in_flight/ { flying += $2 }
    /^pointsman_shadow_sent_total/ { sent += $2 } /^pointsman_shadow_dropped_total/ { dropped += $2 }
    /^pointsman_shadow_completed_total/ { completed += $2 }
    END { print (sampled == flying + sent + dropped && sent == completed) ? "they do" : sampled "=" flying "+" sent "+" dropped ", " sent "=" completed }'
}

# Requests of many kinds, and their copies.
head -c 60000 /dev/urandom >"$scratch/body"
for n in $(seq 40); do
  curl -sS --fail -o /dev/null "$base/items/$n?q=$n&q=&x=%C3%A9%2F" -H 'x-twice: a' -H 'x-twice: b' -H 'x-empty;' -H 'cookie: a=1; b=2'
  curl -sS --fail -o /dev/null --compressed "$base/items/$n"
  curl -sS --fail -o /dev/null --head "$base/items/$n"
  curl -sS --fail -o /dev/null --data-binary "@$scratch/body" "$base/orders/$n"
  curl -sS --fail -o /dev/null -H 'transfer-encoding: chunked' --data-binary "@$scratch/body" "$base/orders/$n"
  curl -sS --fail -o /dev/null --http2-prior-knowledge -H "x-name: $(printf 'caf\xc3\xa9')" "$base/items/$n"
done
# Of a counted body HTTP/1.1 cannot take the trailers; it comes whole all the same.
nghttp -d "$scratch/body" --trailer 'x-sum: 1' "$base/orders/0" >/dev/null || fail "nghttp"
eventually "all copies were sent" 241 sum sent_total
equal "figures add up" "they do" "$(add_up)"
equal "copies are what their requests were" 241 "$(python3 "$here/shadow_copies.py" "$scratch/stable.seen" "$scratch/dark.seen")"

# What is found. The old version's answers are what callers get.
equal "callers get the old price" 160 "$(curl -sS "$base/items/3" | python3 -c 'import json, sys; print(json.load(sys.stdin)["price_cents"])')"
report() { "$pointsman" compare --admin "http://127.0.0.1:$admin_port" "$@"; }
verdict() { report --format json | python3 -c 'import json, sys
fields = json.load(sys.stdin)["routes"][0]["comparison"]["fields"]
print(*[field["verdict"] for field in fields if field["path"] == sys.argv[1]])' "$1"; }
browse() { curl -sS -o /dev/null "$base/items/[0-99]"; verdict "$1"; }
eventually "the price really differs" confirmed browse '$.price_cents'
eventually "the id is noise" noisy browse '$.request'
equal "nothing else differs" "" "$(verdict '$.tags[*]')$(verdict '$.item')$(verdict header:date)"
contains "the table names it" 'ignore = \["\$\.price_cents"\]' "$(report)"
contains "Markdown names it" '^\| `\$\.price_cents` \| value \| confirmed' "$(report --format md)"
equal "the metric tells it" 1 "$(sum fields 'verdict="confirmed"')"
curl -sS "http://127.0.0.1:$admin_port/metrics" >"$scratch/metrics"
said=$(promtool check metrics <"$scratch/metrics" 2>&1) || fail "promtool: $said"
equal "promtool finds nothing" "" "$said"
contains "the log marks copies" '"event":"shadow"' "$(cat "$scratch/access.log")"
python3 - "$scratch/access.log" <<'PYTHON' || fail "lines of copies without their request's"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
own = {line["request_id"] for line in lines if "event" not in line}
sys.exit(not all(line["request_id"] in own for line in lines if line.get("event") == "shadow"))
PYTHON
if "$pointsman" compare --admin "http://127.0.0.1:$admin_port" --route shopp >"$scratch/said" 2>&1; then fail "there is no such route"; fi
contains "and it is said which there are" 'shop' "$(cat "$scratch/said")"

# The line that is given for it, pasted.
line=$(report | grep -oE 'ignore = \["\$\.(price_cents)"\]' | head -n 1)
routes "${line/]/, \"\$.request\"]}"
equal "the file holds" 0 "$("$pointsman" check "$scratch/routes.toml" >/dev/null 2>&1; echo $?)"
different() { report --format json | python3 -c 'import json, sys
found = json.load(sys.stdin)["routes"][0]["comparison"] or {"compared": 0, "different": 0}
print(found["compared"] >= 20, found["different"])'; }
browse_quietly() { curl -sS -o /dev/null "$base/items/[0-29]"; different; }
eventually "what is ignored does not differ" "True 0" browse_quietly

# Bombs, depth, noise without end and no JSON at all: callers get them whole, and the report stays small.
bomb=$(curl -sS "$base/bomb" | sha256sum)
equal "a bomb passes as it is" "$(curl -sS "http://127.0.0.1:$stable_port/bomb" | sha256sum)" "$bomb"
for path in bomb deep broken; do
  for _ in $(seq 5); do equal "$path" 200 "$(status "$base/$path")"; done
done
for _ in $(seq 60); do curl -sS -o /dev/null "$base/many"; done
settled() { sum in_flight; }
eventually "all copies ended" 0 settled
within "bytes of the report, with 120 000 names seen" 1000 2000000 "$(curl -sS "http://127.0.0.1:$admin_port/shadow" | wc -c)"
within "MiB of memory" 1 192 "$(awk '$1 == "VmHWM:" { print int($2 / 1024) }' "/proc/$pointsman_pid/status")"
eventually "nothing is held" 0 metric pointsman_shadow_held_bytes
equal "figures add up after bombs" "they do" "$(add_up)"

# A shadow that never answers, then is gone: nobody waits.
slowest() { curl -sS -o /dev/null -w '%{time_total} %{http_code}\n' "$base/items/[0-199]" | awk '$2 != 200 { bad++ } $1 > most { most = $1 } END { print bad + 0, int(most * 1000) }'; }
python3 - "$dark_pid" <<'PYTHON'
import os, signal, sys
os.kill(int(sys.argv[1]), signal.SIGSTOP)
PYTHON
read -r bad most < <(slowest)
equal "requests that failed while the shadow was silent" 0 "$bad"
within "milliseconds that the slowest took" 0 700 "$most"
eventually "its copies time out" 0 settled
within "copies that timed out" 1 1000 "$(sum dropped_total 'reason="timeout"')"
kill -KILL "$dark_pid"
wait "$dark_pid" 2>/dev/null || true
read -r bad most < <(slowest)
equal "requests that failed while the shadow was gone" 0 "$bad"
within "copies without a connection" 1 1000 "$(sum dropped_total 'reason="connect"')"
now() { sum weight_actual_ratio; }
equal "less is copied" yes "$(awk -v now="$(now)" 'BEGIN { print (now < 1) ? "yes" : "no" }')"
equal "figures add up after that" "they do" "$(add_up)"
start_shop dark 3 "$dark_port"
recovered() { curl -sS -o /dev/null "$base/items/[0-9]"; awk -v now="$(now)" 'BEGIN { print (now > 0.1) ? "yes" : "no" }'; }
eventually "the share grows again" yes recovered

# The kill switch.
routes "" true
stopped() { metric pointsman_config_generation; }
eventually "the kill holds" 3 stopped
before=$(sum sent_total) killed=$(sum dropped_total 'reason="killed"')
equal "requests are answered under the kill" "0" "$(slowest | cut -d' ' -f 1)"
equal "nothing is copied under the kill" "$before" "$(sum sent_total)"
within "and that is counted" 1 200 "$(($(sum dropped_total 'reason="killed"') - killed))"
equal "figures add up at the end" "they do" "$(add_up)"

# gRPC: the same calls, message by message.
python_packages grpcio grpc grpcio==1.85.3
start_calls() {
  python3 "$here/shadow_calls.py" serve "$scratch/$1.port" "$scratch/$1.seen" >"$scratch/$1.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 200); do [ -s "$scratch/$1.port" ] && break; sleep 0.05; done
  [ -s "$scratch/$1.port" ] || fail "the service $1 did not start: $(cat "$scratch/$1.log")"
}
start_calls calls
start_calls calls-dark
cat >>"$scratch/routes.toml" <<TOML
[upstream.calls]
endpoints = ["h2c://127.0.0.1:$(cat "$scratch/calls.port")"]
[upstream.calls-dark]
endpoints = ["h2c://127.0.0.1:$(cat "$scratch/calls-dark.port")"]
[[route]]
name   = "calls"
match  = { grpc = { service = "shop.v1.Test" } }
stable = "calls"
shadow = { upstream = "calls-dark", weight = 100, methods = ["POST"], compare = { control = 50, redact = [] } }
TOML
sed -i 's/^all = true/all = false/' "$scratch/routes.toml"
eventually "gRPC is routed" 4 stopped
said=$(python3 "$here/shadow_calls.py" call "$port" 200) || fail "calls: $said"
equal "calls that went well" 200 "$said"
of_calls() { sum sent_total 'route="calls"'; }
eventually "all calls were copied" 200 of_calls
equal "copies of calls are what the calls were" 200 "$(python3 "$here/shadow_copies.py" "$scratch/calls.seen" "$scratch/calls-dark.seen")"
calls_compared() { "$pointsman" compare --admin "http://127.0.0.1:$admin_port" --route calls --format json | python3 -c 'import json, sys
found = json.load(sys.stdin)["routes"][0]["comparison"]
print(found["compared"], found["different"])'; }
eventually "calls are compared, and equal" "200 0" calls_compared
