#!/usr/bin/env bash
# Prometheus' own checker reads the metrics; counts add up with what was sent.
source "$(dirname "$0")/lib.sh"
need curl promtool python3

start_upstream stable
start_upstream canary
write_routes <<'TOML'
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 10 }
TOML
start_pointsman
for _ in $(seq 40); do curl -sS -o /dev/null "http://127.0.0.1:$port/hello"; done

requests() {
  curl -sS "http://127.0.0.1:$admin_port/metrics" | awk '/^pointsman_requests_total\{/ && /route="all"/ { n += $NF } END { print n + 0 }'
}
eventually "every request is counted once" 40 requests
curl -sS "http://127.0.0.1:$admin_port/metrics" >"$scratch/metrics"
said=$(promtool check metrics <"$scratch/metrics" 2>&1) || fail "promtool: $said"
equal "promtool finds nothing" "" "$said"
# Families that this proxy has no series of.
said=$(promtool check metrics <"$here/../../src/telemetry/exposition/golden.txt" 2>&1) || fail "promtool: $said"
equal "promtool finds nothing in the golden scrape" "" "$said"
equal "the first generation" 1 "$(metric pointsman_config_generation)"
equal "the first load went well" 1 "$(metric pointsman_config_last_reload_success)"
equal "healthz" 200 "$(status "http://127.0.0.1:$admin_port/healthz")"
equal "readyz" 200 "$(status "http://127.0.0.1:$admin_port/readyz")"
contains "status is JSON" '"generation"' "$(curl -sS "http://127.0.0.1:$admin_port/status" | python3 -m json.tool)"
