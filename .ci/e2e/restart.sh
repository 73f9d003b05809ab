#!/usr/bin/env bash
# SIGKILL and a new start at 500 requests a second: the proxy serves in under a second, every caller keeps its variant, and
# only the requests fail that were in flight or arrived while no process listened.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30 "$sticky_by_cookie"
start_proxy
start_load --sticky
killed=() started=()
for _ in 1 2 3; do
  sleep 2
  killed+=("$(now_ms)")
  kill_now "$proxy_pid"
  started+=("$(now_ms)")
  start_proxy
done
end_load 2
no_request "the response to another request, or another variant than before" 'wrong|late|5..'
from=0
for i in "${!killed[@]}"; do
  # A request that was sent some time before the kill may still be in flight.
  no_request "a failure before the kill" '[^o].*' "$from" $((killed[i] - 1000))
  first=$(load_rows ok "${started[i]}" | awk -F'\t' '!n || $1 + $2 < n { n = $1 + $2 } END { printf "%.0f\n", n }')
  echo "   killed, started $((started[i] - killed[i])) ms later, the first response after $((first - started[i])) ms"
  within "milliseconds from the start to the first response" 1 999 $((first - started[i]))
  within "requests that were cut" 0 100 "$(requests cut "${killed[i]}" "$first")"
  from=$first
done
no_request "a failure after the last start" '[^o].*' "$from"
within "requests with a correct response" $((load_ms / 4)) 10000000 "$(requests ok)"
within "of them by the canary" 500 10000000 "$(served_ok canary)"
within "of them by stable" 1500 10000000 "$(served_ok stable)"
