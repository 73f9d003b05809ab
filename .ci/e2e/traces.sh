#!/usr/bin/env bash
# Traces under load, decoded by the protocol's own library, over HTTP and over gRPC, in
# the clear and under TLS: every sampled request leaves one
# server span and one client span, the upstream was told of the client span, and a collector that refuses the first
# export gets it again. A collector that is gone costs no request.
source "$(dirname "$0")/faults.sh"
need curl python3 openssl
python_packages grpcio grpc grpcio==1.85.3
python_packages opentelemetry opentelemetry.proto opentelemetry-proto==1.45.2
start_upstream stable
start_upstream canary

parent=4bf92f3577b34da6a3ce929d0e0e4736
spans() {
  lines_of "$scratch/spans.$1" .
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=collector \
  -addext 'subjectAltName=IP:127.0.0.1' -addext basicConstraints=critical,CA:FALSE -keyout "$scratch/collector.key" -out "$scratch/collector.crt" 2>/dev/null

# start_collector KIND
start_collector() {
  rm -f "$scratch/collector.port"
  python3 "$here/collector.py" "$1" "$scratch/collector.port" "$scratch/spans.$1" "$scratch/collector" \
    >"$scratch/collector.log" 2>&1 &
  collector_pid=$!
  pids+=("$collector_pid")
  for _ in $(seq 400); do [ -s "$scratch/collector.port" ] && break; sleep 0.025; done
  [ -s "$scratch/collector.port" ] || fail "the collector did not start: $(cat "$scratch/collector.log")"
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
otlp = "$scheme://127.0.0.1:$(cat "$scratch/collector.port")"
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
  start_pointsman
  for n in $(seq 100); do
    curl -sS --max-time 10 "http://127.0.0.1:$port/shop/headers?n=$n"
    echo
  done >"$scratch/seen"
  for flags in 01 00; do
    curl -sS --max-time 10 "http://127.0.0.1:$port/shop/headers?parent" -H 'tracestate: x=1' \
      -H "traceparent: 00-$parent-00f067aa0ba902b7-$flags"
    echo
  done >>"$scratch/seen"
  sampled=$(grep -c -- '-01"\]' "$scratch/seen")
  within "$protocol: about half of the roots are sampled" 25 76 "$sampled"
  eventually "$protocol: every sampled request and attempt has its span" $((sampled * 2)) spans $protocol
  python3 - "$scratch" $protocol $parent <<'PY' || fail "$protocol: the spans are not right"
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
    told = server["attributes"]
    assert told["http.request.method"] == "GET" and told["http.response.status_code"] == 200
    assert told["url.path"] == "/shop/headers" and told["http.route"] == "/shop/*"
    assert told["feature_flag.key"] == "shop"
    sent = client["attributes"]
    found = (told["feature_flag.result.variant"], told["feature_flag.result.reason"],
             f"{sent['server.address']}:{sent['server.port']}")
    # Two requests belong to the one trace that was given.
    assert found in [(line["variant"], line["reason"], line["endpoint"]) for line in log[trace]], (found, log[trace])
    assert server["resource"]["service.name"] == "e2e" and server["resource"]["zone"] == "a"
    assert server["scope"] == "pointsman"
assert not servers and not clients, (servers, clients)
PY
  passed=$((passed + 1))
  eventually "$protocol: nothing was lost" $((sampled * 2)) metric 'pointsman_trace_spans_total{outcome="exported"}'
  end "$collector_pid"
  for _ in $(seq 20); do status "http://127.0.0.1:$port/shop/gone"; echo; done >"$scratch/codes"
  equal "$protocol: a collector that is gone costs nobody" 20 "$(grep -c 200 "$scratch/codes")"
  kill -TERM "$pointsman_pid"
  wait "$pointsman_pid" || fail "it did not drain"
done

start_collector https
write_routes <<TOML
[traces]
otlp = "https://127.0.0.1:$(cat "$scratch/collector.port")"
[[route]]
name   = "all"
stable = "v1"
canary = { upstream = "v2", weight = 1 }
TOML
start_pointsman
equal "a collector that is not believed costs nobody" 200 "$(status "http://127.0.0.1:$port/")"
untold() {
  lines_of "$scratch/pointsman.log" 'the certificate of the collector 127.0.0.1:[0-9]+ is issued by CN=collector, which is not trusted'
}
eventually "and it is told why" 1 untold
