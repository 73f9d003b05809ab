#!/usr/bin/env bash
# One dead endpoint of two: none of 2 000 requests fails, with each balance, GET and POST.
source "$(dirname "$0")/lib.sh"
need curl h2load python3
start_upstream stable
start_upstream canary
free_ports dead_port
for balance in least_request round_robin hash; do
  cat <<TOML
[upstream.half-${balance//_/-}]
endpoints = ["http://127.0.0.1:$dead_port", "http://127.0.0.1:$stable_port"]
balance   = "$balance"
[[route]]
name   = "half-${balance//_/-}"
match  = { path = "/$balance/*" }
stable = "half-${balance//_/-}"
TOML
done >"$scratch/more.toml"
write_routes <"$scratch/more.toml"
start_pointsman
head -c 300 /dev/zero | tr '\0' x >"$scratch/body"
for balance in least_request round_robin hash; do
  url=http://127.0.0.1:$port/$balance/x
  for kind in GET POST; do
    body=()
    [ "$kind" = GET ] || body=(-d "$scratch/body")
    said=$(h2load --h1 -n 2000 -c 8 "${body[@]}" "$url")
    contains "$balance, $kind" '2000 total, 2000 started, 2000 done, 2000 succeeded' "$said"
    contains "$balance, $kind" 'status codes: 2000 2xx' "$said"
  done
done
contains "the log names the dead endpoint" "endpoint unreachable.*127.0.0.1:$dead_port" "$(cat "$scratch/pointsman.log")"
