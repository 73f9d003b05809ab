#!/usr/bin/env bash
# One dead endpoint of two: none of 2 000 requests fails, with each balance, GET and POST.
source "$(dirname "$0")/lib.sh"
need h2load
start_upstreams stable
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
start_proxy
head -c 300 /dev/zero | tr '\0' x >"$scratch/body"
for balance in least_request round_robin hash; do
  for method in GET POST; do
    body=()
    [ "$method" = GET ] || body=(-d "$scratch/body")
    output=$(h2load --h1 -n 2000 -c 8 "${body[@]}" "http://127.0.0.1:$port/$balance/x")
    contains "$balance, $method" '2000 total, 2000 started, 2000 done, 2000 succeeded' "$output"
    contains "$balance, $method" 'status codes: 2000 2xx' "$output"
  done
done
contains "the log has the dead endpoint" "endpoint unreachable.*127.0.0.1:$dead_port" "$(<"$scratch/pointsman.log")"
