#!/usr/bin/env bash
# Clients and upstreams that break the protocol: cleartext handshake messages that TLS 1.3 requires to be encrypted (tlslite-ng),
# and HTTP/2 streams that are reset while their connection sends GOAWAY, in every order (h2). The proxy rejects them, other
# requests are not affected, and no memory, descriptor or connection is left.
source "$(dirname "$0")/lib.sh"
python_packages certificates cryptography cryptography==50.0.2
python_packages protocol-violations tlslite.api,h2,hyperframe tlslite-ng==0.8.2 h2==4.4.1 hyperframe==6.1.0
mkdir "$scratch/certs"
python3 "$here/certificates.py" "$scratch/certs"
certs=$scratch/certs
start_upstreams stable
start_service upstreams protocol_violations.py upstreams "$certs/good.pem" "$certs/good.key"
h2_port="" honest_port="" clear_port="" joined_port="" torn_port=""
# shellcheck source=/dev/null
source "$scratch/upstreams.port"
free_ports secure_port

levels=""
for level in honest clear joined torn; do
  port_name=${level}_port
  levels+="
[upstream.$level]
endpoints = [\"https://127.0.0.1:${!port_name}\"]
[upstream.$level.tls]
ca = \"$certs/ca.pem\"
[[route]]
name   = \"$level\"
match  = { path = \"/$level\" }
stable = \"$level\"
"
done
write_routes <<TOML
[[listener]]
name    = "secure"
address = "127.0.0.1:$secure_port"
[listener.tls]
certificates = [{ cert = "$certs/good.pem", key = "$certs/good.key" }]
$levels
[upstream.h2]
endpoints = ["h2c://127.0.0.1:$h2_port"]
[[route]]
name   = "whole"
match  = { path = "/whole/*" }
stable = "h2"
[[route]]
name   = "begun"
match  = { path = "/begun/*" }
stable = "h2"
[[route]]
name   = "plain"
match  = { path = "/plain" }
stable = "v1"
TOML
start_proxy

equal "a conforming upstream" served "$(curl -sS --max-time 20 "http://127.0.0.1:$port/honest")"
for level in clear joined torn; do
  head=$(curl -sS --max-time 20 -o /dev/null -D - "http://127.0.0.1:$port/$level")
  contains "an upstream with the message $level" '^HTTP/1.1 502 ' "$head"
  contains "Proxy-Status: $level" '^proxy-status: pointsman; error=tls_protocol_error' "$head"
  equal "it is counted: $level" 1 "$(metric "pointsman_upstream_tls_failures_total{cause=\"protocol\",upstream=\"$level\"}")"
done
python_checks "clients" protocol_violations.py clients "$secure_port"
eventually "three such clients are counted" 3 metric_sum pointsman_tls_handshake_failures_total
python_checks "resets" protocol_violations.py resets "$port" "$admin_port" "$proxy_pid"
equal "a conforming upstream afterwards" served "$(curl -sS --max-time 20 "http://127.0.0.1:$port/honest")"
