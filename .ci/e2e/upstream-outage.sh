#!/usr/bin/env bash
# All upstreams gone and back at 500 requests a second: 502 at once, and served again within a second and a half.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
write_routes <<'TOML'
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
start_pointsman
start_load 13
gone=() back=()
for _ in 1 2; do
  sleep 2
  gone+=("$(now_ms)")
  end "$stable_pid"
  end "$canary_pid"
  sleep 2
  start_echo stable "$stable_port"
  start_echo canary "$canary_port"
  back+=("$(now_ms)")
done
end_load
# A head can have arrived without the rest of its answer: then the client's connection is cut, as it must be.
none "an answer that belongs to another request, or none" 'wrong|late|refused|504'
within "requests that were cut" 0 20 "$(of cut)"
from=0
for i in 0 1; do
  none "failed while nothing was the matter" '[^o].*' "$from" $((gone[i] - 1000))
  within "told so: requests" 600 10000000 "$(of '502|503' "${gone[i]}" "${back[i]}")"
  within "told so at once: milliseconds, 99 of 100" 0 300 "$(quantile 99 '502|503' "${gone[i]}" "${back[i]}")"
  within "told so at once: milliseconds at most" 0 900 "$(slowest '502|503' "${gone[i]}" "${back[i]}")"
  from=$((back[i] + 1500))
  echo "   gone for $((back[i] - gone[i])) ms, $(of '502|503' "${gone[i]}" "$from") told so, $(of '502|503' "${back[i]}" "$from") of them after it was back"
done
none "failed more than 1.5 s after all were back" '[^o].*' "$from"
within "requests with a good answer" 2500 10000000 "$(of ok)"
within "of them by the canary at the end" 200 10000000 "$(served_ok canary "$from")"
within "of them by stable at the end" 500 10000000 "$(served_ok stable "$from")"
