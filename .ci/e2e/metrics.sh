#!/usr/bin/env bash
# promtool reads the metrics; they count the requests that were sent.
source "$(dirname "$0")/lib.sh"
need promtool
start_upstreams stable canary
write_split 10
start_proxy
for _ in $(seq 40); do curl -sS -o /dev/null "http://127.0.0.1:$port/hello"; done

eventually "every request is counted once" 40 metric_sum pointsman_requests_total 'route="all"'
admin /metrics >"$scratch/metrics"
silent "promtool on this scrape" promtool check metrics <"$scratch/metrics"
# Families that this proxy has no series of.
silent "promtool on the golden scrape" promtool check metrics <"$here/../../src/telemetry/exposition/golden.txt"
equal "the first generation" 1 "$(metric pointsman_config_generation)"
equal "the first load succeeded" 1 "$(metric pointsman_config_last_reload_success)"
equal "healthz" 200 "$(status "http://127.0.0.1:$admin_port/healthz")"
equal "readyz" 200 "$(status "http://127.0.0.1:$admin_port/readyz")"
equal "status is JSON" 1 "$(admin /status | json 'it["generation"]')"
