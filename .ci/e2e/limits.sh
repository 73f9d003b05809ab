#!/usr/bin/env bash
# Rate limits, access rules and priorities with curl and grpcio: statuses and fields, a dry run, callers apart, a burst after a pause,
# counts over a reload and a hand-over, more keys than fit. A kill opens nothing that is closed. Under load low routes are refused,
# others are not, and the admin listener answers.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
patience=180
docs=$(cd "$here/../../docs" && pwd)
python_packages grpcio grpc grpcio==1.85.3
start_upstreams stable canary
start_service rpc grpc_service.py
free_ports port admin_port narrow_port

# write_limits RATE [LINES]: RATE is that of the route `limited`.
write_limits() {
  write_routes <<TOML
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant"]
[segment.staff]
header = { x-employee = "1" }

[[listener]]
name    = "narrow"
address = "127.0.0.1:$narrow_port"
limits  = { requests = 10 }

[upstream.rpc]
endpoints = ["h2c://127.0.0.1:$rpc_port"]

[[route]]
name   = "limited"
match  = { path = "/limited/*" }
stable = "v1"
[[route.rate_limit]]
name   = "by-tenant"
per    = "tenant"
rate   = "$1"
burst  = 5
except = "staff"

[[route]]
name   = "tried"
match  = { path = "/tried/*" }
stable = "v1"
[[route.rate_limit]]
per     = "route"
rate    = "1/h"
dry_run = true

[[route]]
name    = "keys"
match   = { path = "/keys/*" }
respond = { status = 200, body = "ok\n" }
[[route.rate_limit]]
per   = "header:x-key"
rate  = "2/h"
burst = 2

[[route]]
name   = "rpc"
match  = { grpc = { service = "shop.v1.Test" } }
stable = "rpc"
[[route.rate_limit]]
per   = "client_ip"
rate  = "1/h"
burst = 3

[[route]]
name   = "closed"
match  = { path = "/closed/*" }
stable = "v1"
sticky = ["client_ip"]
canary = { upstream = "v2", weight = 100 }
[[route.target]]
segment = "staff"
serve   = "stable"
[[route.target]]
header  = { x-partner = { present = true } }
respond = { status = 403, body = "closed\n" }

[[route]]
name     = "reports"
match    = { path = "/reports/*" }
stable   = "v1"
priority = "low"

[[route]]
name    = "all"
match   = { path = "/*" }
stable  = "v1"
timeout = { request = "10m" }
${2:-}
TOML
}
write_limits 6/min
checked=$("$pointsman" check "$scratch/routes.toml" 2>&1) || fail "the file is not valid: $checked"
start_proxy
url=http://127.0.0.1:$port
act() { (cd "$scratch" && timeout 20 "$pointsman" "$@" </dev/null); }
# codes COUNT CURL-ARGUMENTS…: the statuses of so many requests, as "200 200 429".
codes() {
  local count=$1 all=() number
  shift
  for number in $(seq "$count"); do all+=("$(status "$@")"); done
  echo "${all[*]}"
}
serving() { admin /status 2>/dev/null | json 'it["pid"]' 2>/dev/null || true; }
# The fields of limits: RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-10.
fields() { curl -sS --max-time 10 -o /dev/null -D - "$@" | tr -d '\r' | tr '[:upper:]' '[:lower:]'; }

echo "-- statuses and fields"
equal "a burst of five" "200 200 200 200 200 429 429" "$(codes 7 -H 'x-tenant: acme' "$url/limited/x")"
refused=$(fields -H 'x-tenant: acme' "$url/limited/x")
contains "the time to wait" '^retry-after: ([1-9]|10)$' "$refused"
contains "the quota" '^ratelimit-policy: "by-tenant";q=[0-9]+;w=[0-9]+' "$refused"
contains "what is left" '^ratelimit: "by-tenant";r=0;t=([1-9]|10)$' "$refused"
contains "the proxy refuses it" '^proxy-status: .*rate_limited' "$refused"
equal "another tenant" 200 "$(status -H 'x-tenant: globex' "$url/limited/x")"
equal "staff is not limited" "200 200 200 200 200 200 200" "$(codes 7 -H 'x-tenant: acme' -H 'x-employee: 1' "$url/limited/x")"
equal "without a tenant it counts for the address" "200 200 200 200 200 429" "$(codes 6 "$url/limited/x")"
equal "a dry run lets pass" "200 200 200" "$(codes 3 "$url/tried/x")"
equal "and counts" 2 "$(metric 'pointsman_rate_limited_total{limit="route",outcome="dry_run",route="tried"}')"
within "refusals are counted" 4 4 "$(metric 'pointsman_rate_limited_total{limit="by-tenant",outcome="refused",route="limited"}')"
shown=$(act limit ls)
echo "$shown" | sed 's/^/   /'
contains "the list" '^limited +by-tenant +tenant +6/min +5 +[0-9]+ +4 +0 +but staff$' "$shown"
contains "the list has the dry run" '^tried +route +route +1/h +1 +1 +0 +0 +dry run: would refuse 2$' "$shown"
contains "the log names the limit" '"limit":"by-tenant"' "$(cat "$scratch/access.log")"
equal "no refused request reached the service" 0 "$(awk '/"status":429/' "$scratch/access.log" | grep -c '"upstream":"v1"' || true)"

echo "-- gRPC"
python3 "$here/grpc_call.py" "127.0.0.1:$port" Unary hello 4 >"$scratch/calls"
sed 's/^/   /' "$scratch/calls"
equal "three calls pass, and the fourth is refused" "hello hello hello RESOURCE_EXHAUSTED" "$(cut -d' ' -f1 "$scratch/calls" | paste -sd ' ')"

echo "-- a burst after a pause"
write_limits 120/min
reloaded() { admin /v1/limits | json "next(one['rate'] for one in it['limits'] if one['name'] == 'by-tenant')"; }
eventually "another rate" 120/min reloaded
# It had used its burst: at the old rate the whole burst would take 50 s, at the new one it takes 2.5 s, and a token half a second.
began=$(now_ms)
passes() { status -H 'x-tenant: acme' "$url/limited/x"; }
eventually "a higher rate lets it in" 200 passes
within "milliseconds until then" 0 20000 "$(($(now_ms) - began))"
sleep 3
equal "the whole burst is there" "200 200 200 200 200" "$(codes 5 -H 'x-tenant: acme' "$url/limited/x")"

echo "-- a reload and a hand-over keep the counts"
write_limits 1/h
eventually "another rate" 1/h reloaded
codes 6 -H 'x-tenant: hooli' "$url/limited/x" >/dev/null
equal "the tenant has used its burst" 429 "$(status -H 'x-tenant: hooli' "$url/limited/x")"
generation=$(metric pointsman_config_generation)
write_limits 1/h 'limits = { body = "1MiB" }'
eventually "the rules are reloaded" $((generation + 1)) metric pointsman_config_generation
equal "after a reload" 429 "$(status -H 'x-tenant: hooli' "$url/limited/x")"
before=$(serving)
kill -USR2 "$before"
other() {
  local now
  now=$(serving)
  [ -z "$now" ] || [ "$now" = "$before" ] || echo yes
}
eventually "the next process serves" yes other
pids+=("$(serving)")
equal "after a hand-over" 429 "$(status -H 'x-tenant: hooli' "$url/limited/x")"
equal "another tenant there" 200 "$(status -H 'x-tenant: initech' "$url/limited/x")"

echo "-- more keys than fit"
begun=$(now_ms)
equal "65 537 keys" "200:65537" "$(timeout 120 python3 "$here/rate_keys.py" "$port" 0 65537 /keys/x)"
echo "   65 537 requests in $(($(now_ms) - begun)) ms"
within "keys in use" 65000 65536 "$(metric 'pointsman_rate_limit_keys{limit="header-x-key",route="keys"}')"
within "forgotten keys" 1 537 "$(metric 'pointsman_rate_limit_evictions_total{limit="header-x-key",route="keys"}')"
equal "a new key has its count" "200:1 200:1 429:1" "$(
  for _ in 1 2 3; do python3 "$here/rate_keys.py" "$port" 65537 1 /keys/x; done | paste -sd ' '
)"

echo "-- access rules, also under a kill"
partner=(-H 'x-partner: 1')
equal "a partner is closed out" 403 "$(status "${partner[@]}" "$url/closed/x")"
equal "others get the canary" canary "$(served "$url/closed/x")"
equal "staff comes first" stable "$(served "${partner[@]}" -H 'x-employee: 1' "$url/closed/x")"
act kill --all --reason "the test of access rules" --yes >/dev/null || fail "kill"
equal "a kill opens nothing" 403 "$(status "${partner[@]}" "$url/closed/x")"
equal "others get stable" stable "$(served "$url/closed/x")"
act revive --all --reason "the test of access rules" --yes >/dev/null || fail "revive"
within "it is counted" 2 2 "$(metric 'pointsman_denied_total{route="closed"}')"
contains "the log names the rule" '"detail":"access","rule":"routes\.toml:[0-9]+"' "$(cat "$scratch/access.log")"
contains "explain names it" '403' "$(act explain --path /closed/x --header x-partner:1 2>&1)"

echo "-- low routes are refused under load"
# Nine of the ten requests of this listener: above 80 %. Their connections end with a reset, so that the requests end too.
python3 - "$narrow_port" <<'PYTHON' &
import signal, socket, struct, sys
nine = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(9)]
for one in nine:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.sendall(b"GET /slow?ms=600000 HTTP/1.1\r\nhost: a\r\n\r\n")
signal.pause()
PYTHON
slow_pid=$!
pids+=("$slow_pid")
eventually "nine are in flight" 9 metric pointsman_requests_in_flight
equal "a low route is refused" 503 "$(status "http://127.0.0.1:$narrow_port/reports/x")"
contains "with the time to wait" '^retry-after: ' "$(fields "http://127.0.0.1:$narrow_port/reports/x")"
equal "another one is not" 200 "$(status "http://127.0.0.1:$narrow_port/x")"
equal "the listener with room serves it" 200 "$(status "$url/reports/x")"
for path in /healthz /readyz /metrics /v1/limits; do equal "$path answers" 200 "$(status "http://127.0.0.1:$admin_port$path")"; done
act kill --route closed --reason "the test of load" --yes >/dev/null || fail "kill under load"
act revive --route closed --reason "the test of load" --yes >/dev/null || fail "revive under load"
eventually "it is counted" 2 metric 'pointsman_shed_total{route="reports"}'
contains "the log says so" '"detail":"shed"' "$(cat "$scratch/access.log")"
kill_now "$slow_pid"
reports() { status "http://127.0.0.1:$narrow_port/reports/x"; }
eventually "afterwards it is served" 200 reports

echo "-- the page"
mkdir -p "$scratch/page"
free_ports page_port page_admin
cat >"$scratch/page/routes.toml" <<TOML
schema = 1
[[listener]]
address = "127.0.0.1:$page_port"
[admin]
address = "127.0.0.1:$page_admin"
[access_log]
sink = "access.log"
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant"]
[segment.staff]
header = { x-employee = "1" }
[upstream.v1]
endpoints = ["http://127.0.0.1:$stable_port"]
[[route]]
name   = "api"
match  = { path = "/*" }
stable = "v1"
[[route.rate_limit]]
name    = "by-address"
per     = "client_ip"
rate    = 100
burst   = 200
except  = "staff"
dry_run = true
[[route]]
name   = "strict"
match  = { path = "/limited" }
stable = "v1"
[[route.rate_limit]]
name  = "by-tenant"
per   = "tenant"
rate  = "6/min"
burst = 5
TOML
(cd "$scratch/page" && exec "$pointsman" run routes.toml --workers 1) >"$scratch/page.log" 2>&1 </dev/null &
pids+=($!)
page_ready() { status "http://127.0.0.1:$page_admin/readyz"; }
eventually "the page's proxy is ready" 200 page_ready
python_checks "docs/rate-limits.md" documents.py "$pointsman" "$scratch/page" "8080=$page_port,9900=$page_admin" "$docs/rate-limits.md"
