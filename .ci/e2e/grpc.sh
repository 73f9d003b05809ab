#!/usr/bin/env bash
# gRPC with grpcio as client and server: all kinds of calls, metadata, statuses, deadlines, cancellation, over cleartext and
# TLS. grpcio is from PyPI.
source "$(dirname "$0")/lib.sh"
need openssl
python_packages grpcio grpc grpcio==1.85.3
start_service stable grpc_service.py
free_ports closed_port secure_port
mkdir "$scratch/certs"
self_signed "$scratch/certs/leaf" localhost

write_routes <<TOML
[[listener]]
name    = "secure"
address = "127.0.0.1:$secure_port"
[listener.tls]
certificates = ["certs/"]

[upstream.grpc]
endpoints = ["h2c://127.0.0.1:$stable_port"]
[upstream.gone]
endpoints = ["h2c://127.0.0.1:$closed_port"]

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
start_proxy

python_checks "cleartext" grpc_check.py "localhost:$port"
contains "calls are counted" '^[1-9]' "$(metric 'pointsman_grpc_requests_total{grpc_status="0",route="test",variant="stable"}')"
equal "each status once" 1 "$(metric 'pointsman_grpc_requests_total{grpc_status="16",route="test",variant="stable"}')"
equal "the log has the status" 1 "$(count_lines "$scratch/access.log" '"grpc_status":16')"
python_checks "TLS" grpc_check.py "localhost:$secure_port" "$scratch/certs/leaf.crt"
equal "each status once more over TLS" 2 "$(metric 'pointsman_grpc_requests_total{grpc_status="16",route="test",variant="stable"}')"
equal "the proxy still serves" 404 "$(status "http://127.0.0.1:$port/")"
