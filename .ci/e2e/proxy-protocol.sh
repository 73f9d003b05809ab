#!/usr/bin/env bash
# The PROXY protocol: curl and HAProxy in front of the proxy, HAProxy and nginx behind it.
source "$(dirname "$0")/lib.sh"
need openssl
start_upstreams stable
free_ports behind_port in_port secure_port
self_signed "$scratch/leaf" localhost DNS:localhost,IP:127.0.0.1
write_routes <<TOML
[[listener]]
name = "trusted"
address = "127.0.0.1:$in_port"
[listener.proxy_protocol]
from = ["127.0.0.1"]

[[listener]]
name = "trusted-secure"
address = "127.0.0.1:$secure_port"
[listener.proxy_protocol]
from = ["127.0.0.1"]
[listener.tls]
certificates = [{ cert = "$scratch/leaf.crt", key = "$scratch/leaf.key" }]

[upstream.behind]
endpoints = ["http://127.0.0.1:$behind_port"]
proxy_protocol = "v2"
[upstream.behind-v1]
endpoints = ["http://127.0.0.1:$behind_port"]
proxy_protocol = "v1"

[[route]]
name   = "behind"
match  = { path = "/behind/*" }
stable = "behind"

[[route]]
name   = "behind-v1"
match  = { path = "/behind-v1/*" }
stable = "behind-v1"

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
TOML
start_proxy

# forwarded CURL-ARGUMENTS…: the client address that the upstream receives.
forwarded() { seen_header x-forwarded-for "$@"; }
url="http://127.0.0.1:$in_port/headers"
equal "version 1 from curl" 127.0.0.1 "$(forwarded --haproxy-protocol "$url")"
if curl --help all | grep -q -- --haproxy-clientip; then
  equal "version 1 from curl with an IPv4 client" 192.0.2.7 "$(forwarded --haproxy-clientip 192.0.2.7 "$url")"
  equal "version 1 from curl with an IPv6 client" 2001:db8::7 "$(forwarded --haproxy-clientip 2001:db8::7 "$url")"
  eventually "the log has both" 1 count_lines "$scratch/access.log" '"peer":"192.0.2.7:[0-9]+","sender":"127.0.0.1:[0-9]+"'
fi
equal "a connection without a header is closed" 000 "$(status "$url" 2>/dev/null || true)"
equal "it is counted" 1 "$(metric 'pointsman_refused_total{reason="proxy_header_missing"}')"
equal "a header on another listener is invalid HTTP" 400 "$(status --haproxy-protocol "http://127.0.0.1:$port/headers")"

# On a TLS listener the header comes first, in cleartext; the handshake follows.
secure="https://127.0.0.1:$secure_port/headers" trust=(--cacert "$scratch/leaf.crt")
equal "version 1 before TLS" 127.0.0.1 "$(forwarded "${trust[@]}" --haproxy-protocol "$secure")"
equal "version 1 before TLS, HTTP/1.1" 127.0.0.1 "$(forwarded "${trust[@]}" --http1.1 --haproxy-protocol "$secure")"
if curl --help all | grep -q -- --haproxy-clientip; then
  equal "version 1 before TLS with an IPv6 client" 2001:db8::7 "$(forwarded "${trust[@]}" --haproxy-clientip 2001:db8::7 "$secure")"
fi
unexpected() { metric 'pointsman_refused_total{reason="proxy_header_unexpected"}'; }
before=$(unexpected)
python_checks "before TLS" proxy_protocol_tls.py "$secure_port" "$scratch/leaf.crt"
eventually "no header before TLS, or one within TLS, is counted" 3 metric 'pointsman_refused_total{reason="proxy_header_missing"}'
eventually "a wrong length is counted" 1 metric 'pointsman_refused_total{reason="proxy_header_malformed"}'
eventually "a second header, before TLS or within it, is counted" "$((before + 2))" unexpected

if command -v haproxy >/dev/null; then
  free_ports front_v1 front_v2 accept front_v1_tls front_v2_tls front_ends
  cat "$scratch/leaf.crt" "$scratch/leaf.key" >"$scratch/both.pem"
  cat >"$scratch/haproxy.cfg" <<CFG
defaults
  mode tcp
  timeout connect 2s
  timeout client 10s
  timeout server 10s
listen v1
  bind 127.0.0.1:$front_v1
  server one 127.0.0.1:$in_port send-proxy
listen v2
  bind 127.0.0.1:$front_v2
  server one 127.0.0.1:$in_port send-proxy-v2 proxy-v2-options unique-id,crc32c check inter 200ms
  unique-id-format %[uuid]
listen v1-tls
  bind 127.0.0.1:$front_v1_tls
  server one 127.0.0.1:$secure_port send-proxy
listen v2-tls
  bind 127.0.0.1:$front_v2_tls
  server one 127.0.0.1:$secure_port send-proxy-v2 proxy-v2-options unique-id,crc32c
  unique-id-format %[uuid]
listen v2-ends-tls
  bind 127.0.0.1:$front_ends ssl crt $scratch/both.pem
  server one 127.0.0.1:$secure_port send-proxy-v2-ssl-cn ssl verify none
frontend behind
  mode http
  bind 127.0.0.1:$behind_port accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst_port]"
frontend accept
  bind 127.0.0.1:$accept accept-proxy
  default_backend empty
backend empty
CFG
  haproxy -f "$scratch/haproxy.cfg" >"$scratch/haproxy.log" 2>&1 &
  pids+=($!)
  eventually "HAProxy sends version 1" 200 status "http://127.0.0.1:$front_v1/headers"
  eventually "HAProxy sends version 2 with TLVs" 200 status "http://127.0.0.1:$front_v2/headers"
  equal "its client, version 2" 127.0.0.9 "$(forwarded --interface 127.0.0.9 "http://127.0.0.1:$front_v2/headers")"
  equal "its client, version 1" 127.0.0.8 "$(forwarded --interface 127.0.0.8 "http://127.0.0.1:$front_v1/headers")"
  # HAProxy passes TLS through, or ends it and opens a new TLS connection.
  for version in v1 v2; do
    place=front_${version}_tls
    eventually "HAProxy passes TLS through, $version" 200 status "${trust[@]}" "https://127.0.0.1:${!place}/headers"
    equal "its client, TLS passed through" 127.0.0.3 "$(forwarded "${trust[@]}" --interface 127.0.0.3 "https://127.0.0.1:${!place}/headers")"
  done
  eventually "HAProxy ends TLS" 200 status "${trust[@]}" "https://127.0.0.1:$front_ends/headers"
  equal "its client, TLS ended" 127.0.0.2 "$(forwarded "${trust[@]}" --interface 127.0.0.2 "https://127.0.0.1:$front_ends/headers")"
  # Its health checks have the command LOCAL and send nothing after the header.
  eventually "HAProxy's health checks pass" 200 status "http://127.0.0.1:$front_v2/headers"
  base="http://127.0.0.1:$port"
  equal "HAProxy reads the proxy's version 2" "127.0.0.7 $port" "$(curl -sS --interface 127.0.0.7 "$base/behind/x")"
  equal "HAProxy reads the proxy's version 1" "127.0.0.6 $port" "$(curl -sS --interface 127.0.0.6 "$base/behind-v1/x")"
  equal "another client gets another connection" "127.0.0.5 $port" "$(curl -sS --interface 127.0.0.5 "$base/behind/x")"
  if curl --help all | grep -q -- --haproxy-clientip; then
    equal "from HAProxy to HAProxy" 2001:db8::7 \
      "$(curl -sS --haproxy-clientip 2001:db8::7 "http://127.0.0.1:$in_port/behind/x" | cut -d' ' -f1)"
  fi
else
  not_checked "HAProxy: it is not installed"
fi

if command -v nginx >/dev/null; then
  nginx_port=$(free_port)
  start_nginx <<CFG
  server {
    listen 127.0.0.1:$nginx_port proxy_protocol;
    location / { return 200 "\$proxy_protocol_addr \$proxy_protocol_server_port"; }
  }
CFG
  sed -i "s|127.0.0.1:$behind_port|127.0.0.1:$nginx_port|" "$scratch/routes.toml"
  eventually "the edit is applied" 2 metric pointsman_config_generation
  through() { curl -sS --interface 127.0.0.4 "http://127.0.0.1:$port/$1/x"; }
  eventually "nginx reads the proxy's version 2" "127.0.0.4 $port" through behind
  eventually "nginx reads the proxy's version 1" "127.0.0.4 $port" through behind-v1
else
  not_checked "nginx: it is not installed"
fi
