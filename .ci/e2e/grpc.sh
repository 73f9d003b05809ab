#!/usr/bin/env bash
# gRPC with grpcio as client and server: all kinds of calls, metadata, statuses, deadlines, cancellation, in the clear
# and under TLS. grpcio comes from PyPI.
source "$(dirname "$0")/lib.sh"
need curl python3 openssl

python_packages grpcio grpc grpcio==1.85.3

python3 "$here/grpc_service.py" "$scratch/grpc.port" >"$scratch/grpc.log" 2>&1 &
pids+=($!)
for _ in $(seq 200); do [ -s "$scratch/grpc.port" ] && break; sleep 0.05; done
[ -s "$scratch/grpc.port" ] || fail "the service did not start: $(cat "$scratch/grpc.log")"
stable_port=$(cat "$scratch/grpc.port")
canary_port=$(free_port)
secure_port=$(free_port)

mkdir "$scratch/certs"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext 'subjectAltName=DNS:localhost' -keyout "$scratch/certs/leaf.key" -out "$scratch/certs/leaf.crt" 2>/dev/null

write_routes <<TOML
[[listener]]
name    = "secure"
address = "127.0.0.1:$secure_port"
[listener.tls]
certificates = ["certs/"]

[upstream.grpc]
endpoints = ["h2c://127.0.0.1:$stable_port"]
[upstream.gone]
endpoints = ["h2c://127.0.0.1:$canary_port"]

[[route]]
name   = "test"
match  = { grpc = { service = "shop.v1.Test" } }
stable = "grpc"
[[route]]
name   = "gone"
match  = { grpc = { service = "shop.v1.Gone", method = "Method" } }
stable = "gone"
[[route]]
name    = "closed"
match   = { grpc = { service = "shop.v1.Closed" } }
respond = { status = 503, body = "closed: 100 % schön" }
TOML
start_pointsman

checks=$(timeout 100 python3 "$here/grpc_check.py" "localhost:$port" 2>"$scratch/check.log") ||
  fail "h2c: $(tail -n 5 "$scratch/check.log")"
passed=$((passed + checks))
contains "calls are counted" '^[1-9]' "$(metric 'pointsman_grpc_requests_total{grpc_status="0",route="test",variant="stable"}')"
equal "each status once" 1 "$(metric 'pointsman_grpc_requests_total{grpc_status="16",route="test",variant="stable"}')"
contains "the log knows the status" '"grpc_status":16' "$(grep -m1 '"grpc_status":16' "$scratch/access.log")"

checks=$(timeout 100 python3 "$here/grpc_check.py" "localhost:$secure_port" "$scratch/certs/leaf.crt" 2>"$scratch/check.log") ||
  fail "TLS: $(tail -n 5 "$scratch/check.log")"
passed=$((passed + checks))
equal "under TLS too" 2 "$(metric 'pointsman_grpc_requests_total{grpc_status="16",route="test",variant="stable"}')"
contains "the proxy is alive" '^404$' "$(status "http://127.0.0.1:$port/")"
