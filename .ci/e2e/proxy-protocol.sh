#!/usr/bin/env bash
# The PROXY protocol with real peers: curl and HAProxy before us, HAProxy and nginx behind us.
source "$(dirname "$0")/lib.sh"
need curl python3 openssl
start_upstream stable
start_upstream canary
behind_port=$(free_port)
in_port=$(free_port)
secure_port=$(free_port)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
write_routes <<TOML
[[listener]]
name = "vouched"
address = "127.0.0.1:$in_port"
[listener.proxy_protocol]
from = ["127.0.0.1"]

[[listener]]
name = "vouched-secure"
address = "127.0.0.1:$secure_port"
[listener.proxy_protocol]
from = ["127.0.0.1"]
[listener.tls]
certificates = [{ cert = "$scratch/cert.pem", key = "$scratch/key.pem" }]

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
start_pointsman

# forwarded CURL-ARGUMENTS…: the address that the upstream is told.
forwarded() {
  curl -sS --max-time 10 "$@" | python3 -c 'import json, sys
print(dict((name.lower(), value) for name, value in json.load(sys.stdin)["headers"]).get("x-forwarded-for"))'
}
url="http://127.0.0.1:$in_port/headers"
equal "curl speaks version 1" 127.0.0.1 "$(forwarded --haproxy-protocol "$url")"
if curl --help all | grep -q -- --haproxy-clientip; then
  equal "curl names a client" 192.0.2.7 "$(forwarded --haproxy-clientip 192.0.2.7 "$url")"
  equal "curl names a client of IPv6" 2001:db8::7 "$(forwarded --haproxy-clientip 2001:db8::7 "$url")"
  contains "the log has both" '"peer":"192.0.2.7:[0-9]+","sender":"127.0.0.1:[0-9]+"' "$(sleep 0.3; cat "$scratch/access.log")"
fi
equal "without a header the connection is closed" 000 "$(status "$url" 2>/dev/null || true)"
equal "and counted" 1 "$(metric 'pointsman_refused_total{reason="proxy_header_missing"}')"
equal "where none is expected, a header is bad HTTP" 400 "$(status --haproxy-protocol "http://127.0.0.1:$port/headers")"

# Before TLS: the header is the first, and in the clear; the handshake follows.
secure="https://127.0.0.1:$secure_port/headers" trust=(--cacert "$scratch/cert.pem")
equal "version 1 before TLS" 127.0.0.1 "$(forwarded "${trust[@]}" --haproxy-protocol "$secure")"
equal "and HTTP/1.1" 127.0.0.1 "$(forwarded "${trust[@]}" --http1.1 --haproxy-protocol "$secure")"
if curl --help all | grep -q -- --haproxy-clientip; then
  equal "curl names a client before TLS" 2001:db8::7 "$(forwarded "${trust[@]}" --haproxy-clientip 2001:db8::7 "$secure")"
fi
unexpected() { metric 'pointsman_refused_total{reason="proxy_header_unexpected"}'; }
before=$(unexpected)
checks=$(python3 "$here/proxy_protocol_tls.py" "$secure_port" "$scratch/cert.pem" 2>"$scratch/proxied") ||
  fail "before TLS: $(tail -n 3 "$scratch/proxied")"
passed=$((passed + checks))
missing() { metric 'pointsman_refused_total{reason="proxy_header_missing"}'; }
eventually "no header before TLS, or one within it, is counted" 3 missing
eventually "and one of a wrong length" 1 metric 'pointsman_refused_total{reason="proxy_header_malformed"}'
eventually "and a second one, before TLS or within it" "$((before + 2))" unexpected

if command -v haproxy >/dev/null; then
  front_v1=$(free_port) front_v2=$(free_port) accept=$(free_port)
  free_ports front_v1_tls front_v2_tls front_ends
  cat "$scratch/cert.pem" "$scratch/key.pem" >"$scratch/both.pem"
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
  default_backend nobody
backend nobody
CFG
  haproxy -f "$scratch/haproxy.cfg" >"$scratch/haproxy.log" 2>&1 &
  pids+=($!)
  eventually "HAProxy speaks version 1" 200 status "http://127.0.0.1:$front_v1/headers"
  eventually "HAProxy speaks version 2, with records" 200 status "http://127.0.0.1:$front_v2/headers"
  equal "its client" 127.0.0.9 "$(forwarded --interface 127.0.0.9 "http://127.0.0.1:$front_v2/headers")"
  equal "its client" 127.0.0.8 "$(forwarded --interface 127.0.0.8 "http://127.0.0.1:$front_v1/headers")"
  # Through to us, and shaken hands with on the way.
  for version in v1 v2; do
    place=front_${version}_tls
    eventually "HAProxy passes TLS on, $version" 200 status "${trust[@]}" "https://127.0.0.1:${!place}/headers"
    equal "its client under TLS" 127.0.0.3 "$(forwarded "${trust[@]}" --interface 127.0.0.3 "https://127.0.0.1:${!place}/headers")"
  done
  eventually "HAProxy speaks TLS with both" 200 status "${trust[@]}" "https://127.0.0.1:$front_ends/headers"
  equal "its client" 127.0.0.2 "$(forwarded "${trust[@]}" --interface 127.0.0.2 "https://127.0.0.1:$front_ends/headers")"
  # Its health checks are LOCAL, and say nothing after it.
  eventually "HAProxy holds us for healthy" 200 status "http://127.0.0.1:$front_v2/headers"
  ours="http://127.0.0.1:$port"
  equal "HAProxy reads our version 2" "127.0.0.7 $port" "$(curl -sS --interface 127.0.0.7 "$ours/behind/x")"
  equal "HAProxy reads our version 1" "127.0.0.6 $port" "$(curl -sS --interface 127.0.0.6 "$ours/behind-v1/x")"
  equal "one client's connection is not another's" "127.0.0.5 $port" "$(curl -sS --interface 127.0.0.5 "$ours/behind/x")"
  if curl --help all | grep -q -- --haproxy-clientip; then
    equal "and all the way" 2001:db8::7 \
      "$(curl -sS --haproxy-clientip 2001:db8::7 "http://127.0.0.1:$in_port/behind/x" | cut -d' ' -f1)"
  fi
else
  echo "not checked: HAProxy is not here"
fi

if command -v nginx >/dev/null; then
  nginx_port=$(free_port)
  mkdir -p "$scratch/nginx"
  cat >"$scratch/nginx.conf" <<CFG
daemon off;
master_process off;
pid $scratch/nginx/pid;
error_log $scratch/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $scratch/nginx/a; proxy_temp_path $scratch/nginx/b; fastcgi_temp_path $scratch/nginx/c;
  uwsgi_temp_path $scratch/nginx/d; scgi_temp_path $scratch/nginx/e;
  server {
    listen 127.0.0.1:$nginx_port proxy_protocol;
    location / { return 200 "\$proxy_protocol_addr \$proxy_protocol_server_port"; }
  }
}
CFG
  nginx -p "$scratch/nginx" -c "$scratch/nginx.conf" >"$scratch/nginx.log" 2>&1 &
  pids+=($!)
  sed -i "s|127.0.0.1:$behind_port|127.0.0.1:$nginx_port|" "$scratch/routes.toml"
  eventually "the file is taken" 2 metric pointsman_config_generation
  asks() { curl -sS --interface 127.0.0.4 "http://127.0.0.1:$port/$1/x"; }
  eventually "nginx reads our version 2" "127.0.0.4 $port" asks behind
  eventually "nginx reads our version 1" "127.0.0.4 $port" asks behind-v1
else
  echo "not checked: nginx is not here"
fi
