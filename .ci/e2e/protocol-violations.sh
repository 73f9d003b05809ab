#!/usr/bin/env bash
# Peers that break the rules on purpose, on both sides: handshake messages in the clear that TLS 1.3 wants encrypted, of a
# library that gets all else right (tlslite-ng), and HTTP/2 streams that are reset while their connection leaves, in every
# order (h2). Nobody is believed, nobody else notices, nothing is left.
source "$(dirname "$0")/lib.sh"
need curl python3
python_packages certificates cryptography cryptography==50.0.2
python_packages rude-peers tlslite.api,h2,hyperframe tlslite-ng==0.8.2 h2==4.4.1 hyperframe==6.1.0
mkdir "$scratch/certs"
python3 "$here/certificates.py" "$scratch/certs"
certs=$scratch/certs
start_upstream stable
canary_port=$stable_port
python3 "$here/protocol_violations.py" upstreams "$scratch/ports" "$certs/good.pem" "$certs/good.key" >"$scratch/upstreams.log" 2>&1 &
pids+=($!)
there() { [ -s "$scratch/ports" ] && echo there; }
eventually "the rude upstreams" there there
h2_port="" honest_port="" clear_port="" joined_port="" torn_port=""
# shellcheck source=/dev/null
source "$scratch/ports"
free_ports secure_port

levels=""
for level in honest clear joined torn; do
  place=${level}_port
  levels+="
[upstream.$level]
endpoints = [\"https://127.0.0.1:${!place}\"]
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
start_pointsman

equal "an upstream that keeps to the levels" served "$(curl -sS --max-time 20 "http://127.0.0.1:$port/honest")"
for level in clear joined torn; do
  said=$(curl -sS --max-time 20 -o /dev/null -D - "http://127.0.0.1:$port/$level")
  contains "an upstream whose message is $level" '^HTTP/1.1 502 ' "$said"
  contains "and what is told of it" '^proxy-status: pointsman; error=tls_protocol_error' "$said"
  equal "and counted" 1 "$(metric "pointsman_upstream_tls_failures_total{cause=\"protocol\",upstream=\"$level\"}")"
done
checks=$(timeout 60 python3 "$here/protocol_violations.py" clients "$secure_port" 2>"$scratch/said") || fail "clients: $(tail -n 3 "$scratch/said")"
cat "$scratch/said"
passed=$((passed + checks))
failures() { curl -sS "http://127.0.0.1:$admin_port/metrics" | awk '/^pointsman_tls_handshake_failures_total/ { n += $2 } END { print n }'; }
eventually "three such clients are counted" 3 failures

checks=$(timeout 100 python3 "$here/protocol_violations.py" resets "$port" "$admin_port" "$pointsman_pid" 2>"$scratch/said") ||
  fail "resets: $(tail -n 3 "$scratch/said")"
cat "$scratch/said"
passed=$((passed + checks))
equal "an upstream that keeps to the levels, still" served "$(curl -sS --max-time 20 "http://127.0.0.1:$port/honest")"
