#!/usr/bin/env bash
# SIGKILL and a new start at 500 requests a second: it serves in under a second, every caller meets the same variant as
# before, and nothing is lost but what was under way or came while nobody listened.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
write_routes <<'TOML'
[identity]
user = ["cookie:uid"]

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
sticky = ["user"]
TOML
start_pointsman
rounds=3
start_load $((rounds * 3 + 2)) --sticky
killed=() again=()
for _ in $(seq $rounds); do
  sleep 2
  killed+=("$(now_ms)")
  end "$pointsman_pid"
  again+=("$(now_ms)")
  start_pointsman
done
end_load
none "an answer that belongs to another request, or another variant than before" 'wrong|late|5..'
from=0
for i in "${!killed[@]}"; do
  # Marked before the signal is sent; a request that was sent some time before may be still under way.
  none "failed while nothing was the matter" '[^o].*' "$from" $((killed[i] - 1000))
  first=$(awk -F'\t' -v from="${again[i]}" '$3 == "ok" && $1 >= from && (!n || $1 + $2 < n) { n = $1 + $2 } END { printf "%.0f\n", n }' "$scratch/load.tsv")
  echo "   killed, started again $((again[i] - killed[i])) ms later, serving $((first - again[i])) ms after that"
  within "milliseconds from the start to the first answer" 1 999 $((first - again[i]))
  within "requests that were cut" 0 100 "$(of cut "${killed[i]}" "$first")"
  from=$first
done
none "failed after it was back" '[^o].*' "$from"
within "requests with a good answer" 4000 10000000 "$(of ok)"
within "of them by the canary" 500 10000000 "$(served_ok canary)"
within "of them by stable" 1500 10000000 "$(served_ok stable)"
