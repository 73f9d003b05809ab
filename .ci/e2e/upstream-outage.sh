#!/usr/bin/env bash
# All upstreams stop and start at 500 requests a second: 502 or 503 at once, and served again within 1.5 seconds.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30
start_proxy
start_load
gone=() back=()
for _ in 1 2; do
  sleep 2
  gone+=("$(now_ms)")
  kill_now "$stable_pid"
  kill_now "$canary_pid"
  sleep 2
  start_echo stable "$stable_port"
  start_echo canary "$canary_port"
  back+=("$(now_ms)")
done
end_load 3
# The head of a response may have arrived without the rest: then the proxy must cut the client's connection.
no_request "the response to another request, or none" 'wrong|late|refused|504'
within "requests that were cut" 0 20 "$(requests cut)"
from=0
for i in 0 1; do
  no_request "a failure before the outage" '[^o].*' "$from" $((gone[i] - 1000))
  outage=('502|503' "${gone[i]}" "${back[i]}")
  within "requests with 502 or 503" 600 10000000 "$(requests "${outage[@]}")"
  within "their latency in milliseconds, p99" 0 300 "$(latency 99 "${outage[@]}")"
  within "their latency in milliseconds, at most" 0 900 "$(latency 100 "${outage[@]}")"
  from=$((back[i] + 1500))
  echo "   an outage of $((back[i] - gone[i])) ms, $(requests '502|503' "${gone[i]}" "$from") failures, $(requests '502|503' "${back[i]}" "$from") of them after it"
done
no_request "a failure more than 1.5 s after the outage" '[^o].*' "$from"
within "requests with a correct response" 2000 10000000 "$(requests ok)"
within "of them by the canary after the outages" 150 10000000 "$(served_ok canary "$from")"
within "of them by stable after the outages" 300 10000000 "$(served_ok stable "$from")"
