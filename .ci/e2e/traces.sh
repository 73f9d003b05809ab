#!/usr/bin/env bash
# Traces, decoded by the protocol's own library, over HTTP and gRPC, cleartext and TLS: every sampled request has one server
# span and one client span, the upstream receives the id of the client span, and an export that the collector refuses is sent
# again. Without a collector no request fails.
source "$(dirname "$0")/lib.sh"
need openssl
python_packages grpcio grpc grpcio==1.85.3
python_packages opentelemetry opentelemetry.proto opentelemetry-proto==1.45.2
start_upstreams stable canary
parent=4bf92f3577b34da6a3ce929d0e0e4736
self_signed "$scratch/collector" collector IP:127.0.0.1

# start_collector KIND
start_collector() {
  start_service collector collector.py "$1" "$scratch/spans.$1" "$scratch/collector"
}

for protocol in http grpc https grpcs; do
  rm -f "$scratch/access.log"
  start_collector $protocol
  touch "$scratch/spans.$protocol"
  scheme=http tls=
  case $protocol in *s) scheme=https tls="tls = { ca = \"$scratch/collector.crt\" }" ;; esac
  write_routes <<TOML
[identity]
trusted_proxies = ["127.0.0.1"]
[traces]
otlp = "$scheme://127.0.0.1:$collector_port"
protocol = "${protocol%s}"
$tls
sample = 0.5
service = "e2e"
attributes = { zone = "a" }
headers = { x-token = "secret" }
[[route]]
name   = "shop"
match  = { path = "/shop/*" }
stable = "v1"
canary = { upstream = "v2", weight = 50 }
TOML
  start_proxy
  curl -sS --max-time 30 -w '\n' "http://127.0.0.1:$port/shop/headers?n=[1-100]" >"$scratch/seen"
  for flags in 01 00; do
    curl -sS --max-time 10 -w '\n' "http://127.0.0.1:$port/shop/headers?parent" -H 'tracestate: x=1' \
      -H "traceparent: 00-$parent-00f067aa0ba902b7-$flags" >>"$scratch/seen"
  done
  sampled=$(grep -c -- '-01"\]' "$scratch/seen")
  within "$protocol: about half of the roots are sampled" 25 76 "$sampled"
  eventually "$protocol: every sampled request and attempt has its span" $((sampled * 2)) count_lines "$scratch/spans.$protocol" .
  python3 - "$scratch" $protocol $parent <<'PY' || fail "$protocol: the spans are wrong"
import json, sys
scratch, protocol, parent = sys.argv[1:4]
spans = [json.loads(line) for line in open(f"{scratch}/spans.{protocol}")]
servers = {span["id"]: span for span in spans if span["kind"] == 2}
clients = {span["id"]: span for span in spans if span["kind"] == 3}
log = {}
for line in map(json.loads, open(f"{scratch}/access.log")):
    log.setdefault(line["trace_id"], []).append(line)
for line in open(f"{scratch}/seen"):
    fields = dict(json.loads(line)["headers"])
    version, trace, span, flags = fields["traceparent"].split("-")
    assert version == "00"
    if flags != "01":
        assert flags == "00" and span not in clients
        continue
    client = clients.pop(span)
    server = servers.pop(client["parent"])
    assert client["trace"] == server["trace"] == trace, line
    if trace == parent:
        assert server["parent"] == "00f067aa0ba902b7" and server["state"] == "x=1" == fields["tracestate"], server
        assert server["flags"] == 0x301
    else:
        assert server["parent"] == "" and server["flags"] == 0x101
    assert server["from"] <= client["from"] <= client["to"] <= server["to"]
    assert server["name"] == "GET /shop/*" and client["name"] == "GET" and server["status"] == client["status"] == 0
    received = server["attributes"]
    assert received["http.request.method"] == "GET" and received["http.response.status_code"] == 200
    assert received["url.path"] == "/shop/headers" and received["http.route"] == "/shop/*"
    assert received["feature_flag.key"] == "shop"
    sent = client["attributes"]
    found = (received["feature_flag.result.variant"], received["feature_flag.result.reason"],
             f"{sent['server.address']}:{sent['server.port']}")
    # Two requests have the given trace id.
    assert found in [(line["variant"], line["reason"], line["endpoint"]) for line in log[trace]], (found, log[trace])
    assert server["resource"]["service.name"] == "e2e" and server["resource"]["zone"] == "a"
    assert server["scope"] == "pointsman"
assert not servers and not clients, (servers, clients)
PY
  passed=$((passed + 1))
  eventually "$protocol: no span is lost" $((sampled * 2)) metric 'pointsman_trace_spans_total{outcome="exported"}'
  kill_now "$collector_pid"
  for _ in $(seq 20); do status "http://127.0.0.1:$port/shop/gone"; echo; done >"$scratch/codes"
  equal "$protocol: without a collector no request fails" 20 "$(grep -c 200 "$scratch/codes")"
  stop_proxy
done

start_collector https
write_routes <<TOML
[traces]
otlp = "https://127.0.0.1:$collector_port"
[[route]]
name   = "all"
stable = "v1"
canary = { upstream = "v2", weight = 1 }
TOML
start_proxy
equal "with an untrusted collector no request fails" 200 "$(status "http://127.0.0.1:$port/")"
eventually "the proxy logs the cause" 1 count_lines "$scratch/pointsman.log" \
  'the certificate of the collector 127.0.0.1:[0-9]+ is issued by CN=collector, '

