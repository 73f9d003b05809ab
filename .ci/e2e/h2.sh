#!/usr/bin/env bash
# nghttp2's clients over cleartext HTTP/2 with prior knowledge: single requests, then thousands.
source "$(dirname "$0")/lib.sh"
need nghttp h2load
start_upstreams stable canary
write_split 50
start_proxy

output=$(timeout 20 nghttp -v -H 'x-test: 1' "http://127.0.0.1:$port/hello" 2>&1)
contains "nghttp" ':status: 200' "$output"
contains "nghttp, the upstream" 'x-served-by: (stable|canary)' "$output"
head -c 300000 /dev/zero >"$scratch/body"
output=$(timeout 20 nghttp -v -d "$scratch/body" "http://127.0.0.1:$port/upload" 2>&1)
contains "nghttp, a body" 'x-body-bytes: 300000' "$output"
equal "curl with prior knowledge" "200 2" \
  "$(curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_code} %{http_version}' "http://127.0.0.1:$port/")"

output=$(timeout 60 h2load -n 4000 -c 10 -m 20 "http://127.0.0.1:$port/hello" 2>&1)
contains "h2load over HTTP/2" '4000 succeeded, 0 failed, 0 errored, 0 timeout' "$output"
contains "h2load, statuses" 'status codes: 4000 2xx' "$output"
output=$(timeout 60 h2load --h1 -n 4000 -c 10 "http://127.0.0.1:$port/hello" 2>&1)
contains "h2load over HTTP/1.1" '4000 succeeded, 0 failed, 0 errored, 0 timeout' "$output"
equal "the proxy still serves" 200 "$(status "http://127.0.0.1:$port/")"
