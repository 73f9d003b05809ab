#!/usr/bin/env bash
# TLS with upstreams that others have written: nginx and openssl. Whom we believe, what we agree upon, what we present, and
# that whatever does not hold is a 502 whose cause an operator understands, while others are served.
source "$(dirname "$0")/lib.sh"
need curl python3 openssl
unpacked nginx nginx
python_packages certificates cryptography cryptography==50.0.2
mkdir "$scratch/certs" "$scratch/nginx"
python3 "$here/certificates.py" "$scratch/certs"
certs=$scratch/certs

# nginx, one server for each certificate; what it answers is what it has seen of us.
presented=(good stranger twin self-signed expired early nameless misused upstart long short
  permitted-inside permitted-outside excluded-inside excluded-outside narrow-inside narrow-outside
  addresses-inside addresses-outside bound-inside bound-outside)
free_ports $(printf '%s\n' "${presented[@]//-/_}") h1 asks old tls12 tls13 cipher alpn verify12 verify13 cleartext silent closing
{
  cat <<CFG
worker_processes 1;
daemon off;
pid $scratch/nginx/pid;
error_log $scratch/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $scratch/nginx/a; proxy_temp_path $scratch/nginx/b; fastcgi_temp_path $scratch/nginx/c;
  uwsgi_temp_path $scratch/nginx/d; scgi_temp_path $scratch/nginx/e;
  ssl_protocols TLSv1.2 TLSv1.3;
CFG
  # serve PORT CERTIFICATE [OPTIONS [LINES]]
  serve() {
    echo "server { listen 127.0.0.1:$1 ssl ${3:-}; ssl_certificate $certs/$2.pem; ssl_certificate_key $certs/$2.key; ${4:-}
      location / { return 200 '\$ssl_protocol \$server_protocol \$ssl_server_name \$ssl_client_verify \$ssl_client_s_dn \$http_host\\n'; } }"
  }
  for name in "${presented[@]}"; do
    place=${name//-/_}
    serve "${!place}" "$name" http2
  done
  serve "$h1" good
  serve "$asks" good http2 "ssl_verify_client on; ssl_client_certificate $certs/clients.pem;"
  serve "$tls12" good http2 "ssl_protocols TLSv1.2;"
  serve "$tls13" good http2 "ssl_protocols TLSv1.3;"
  echo "}"
} >"$scratch/nginx.conf"
nginx -p "$scratch/nginx" -c "$scratch/nginx.conf" >"$scratch/nginx.log" 2>&1 &
nginx_pid=$!
pids+=("$nginx_pid")

# openssl PORT OPTIONS…: a server of one connection at a time.
s_server() {
  openssl s_server -accept "127.0.0.1:$1" -cert "$certs/good.pem" -key "$certs/good.key" -www "${@:2}" \
    >>"$scratch/openssl.log" 2>&1 </dev/null &
  pids+=($!)
}
s_server "$old" -tls1_1 -cipher 'DEFAULT:@SECLEVEL=0'
s_server "$cipher" -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256
s_server "$alpn" -alpn acme-tls/1
s_server "$verify12" -tls1_2 -Verify 3 -verify_return_error -CAfile "$certs/clients.pem"
s_server "$verify13" -tls1_3 -Verify 3 -verify_return_error -CAfile "$certs/clients.pem"

# Peers that do not shake hands at all: one answers HTTP at once, one says nothing, one closes.
python3 - "$cleartext" "$silent" "$closing" <<'PY' &
import socket, sys, threading
def serve(port, answer):
    listener = socket.create_server(("127.0.0.1", int(port)))
    kept = []
    while True:
        connection, _ = listener.accept()
        if answer is None:
            kept.append(connection)
            continue
        connection.recv(4096)
        connection.sendall(answer)
        connection.close()
answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen", None, b""]
threads = [threading.Thread(target=serve, args=pair) for pair in zip(sys.argv[1:], answers)]
for thread in threads:
    thread.start()
PY
pids+=($!)

# The system's roots are those of this file: the authority `other` is believed, and `internal` is not.
export SSL_CERT_FILE=$certs/other.pem
start_upstream stable
canary_port=$stable_port
routes=""
# upstream NAME PORT [LINES OF TLS [ENDPOINT]]: an upstream, and a route to it.
upstream() {
  routes+="
[upstream.$1]
endpoints = [\"${4:-https://127.0.0.1:$2}\"]
connect_timeout = \"5s\"
${3:+[upstream.$1.tls]
$3}
[[route]]
name   = \"$1\"
match  = { path = \"/$1/*\" }
stable = \"$1\"
"
}
ours="ca = \"$certs/ca.pem\""
a="$ours
server_name = \"a.internal\""
edge="client_cert = { cert = \"$certs/edge.pem\", key = \"$certs/edge.key\" }"
for name in "${presented[@]}"; do
  place=${name//-/_}
  lines=$a
  case $name in
    permitted-inside | bound-inside) lines="$ours"$'\nserver_name = "a.permitted.internal"' ;;
    excluded-outside) lines="$ours"$'\nserver_name = "a.excluded.internal"' ;;
    narrow-*) lines="$ours"$'\nserver_name = "a.w.internal"' ;;
    addresses-inside) lines=$ours ;;
    addresses-outside) lines="$ours"$'\nserver_name = "10.0.0.1"' ;;
  esac
  case $name in bound-*) lines=${lines/ca.pem/bound.pem} ;; esac
  upstream "$name" "${!place}" "$lines"
done
upstream by-address "$good" "$ours"
upstream by-host "$good" "$ours" "https://localhost:$good"
upstream by-wildcard "$good" "$ours"$'\nserver_name = "x.w.internal"'
upstream two-labels "$good" "$ours"$'\nserver_name = "y.x.w.internal"'
upstream wrong-name "$good" "$ours"$'\nserver_name = "b.internal"'
upstream system-private "$good" 'server_name = "a.internal"'
upstream system-known "$stranger" 'server_name = "a.internal"'
upstream h1 "$h1" "$a"
upstream asks "$asks" "$a"$'\n'"$edge"
upstream asks-in-vain "$asks" "$a"
upstream tls12 "$tls12" "$a"
upstream tls13 "$tls13" "$a"
upstream old "$old" "$a"
upstream cipher "$cipher" "$a"
upstream alpn "$alpn" "$a"
for version in 12 13; do
  place=verify$version
  upstream "verify$version-given" "${!place}" "$a"$'\n'"$edge"
  upstream "verify$version-none" "${!place}" "$a"
  upstream "verify$version-wrong" "${!place}" "$a"$'\n'"${edge//edge/stranger}"
done
upstream cleartext "$cleartext" "$a"
upstream silent "$silent" "$a"
upstream closing "$closing" "$a"
upstream not-tls "$h1" "" "http://127.0.0.1:$h1"
routes=${routes/"[upstream.silent]"/"[upstream.silent]
#hasty"}
write_routes <<<"$routes"
sed -i '/^#hasty/,/connect_timeout/{/^#hasty/d;s/"5s"/"300ms"/}' "$scratch/routes.toml"
start_pointsman
ask() { curl -sS --max-time 20 "http://127.0.0.1:$port/$1/x" "${@:2}"; }
eventually "nginx is there" 200 status "http://127.0.0.1:$port/good/x"
eventually "openssl is there" 200 status "http://127.0.0.1:$port/verify13-given/x"

# Somebody is served all the while.
python3 - "$port" "$scratch/stop" >"$scratch/others" <<'PY' &
import http.client, os, sys, time
connection, answers = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20), {}
while not os.path.exists(sys.argv[2]):
    connection.request("GET", "/good/x")
    answer = connection.getresponse()
    answer.read()
    answers[answer.status] = answers.get(answer.status, 0) + 1
    time.sleep(0.01)
print(answers)
PY
others_pid=$!
pids+=("$others_pid")

equal "HTTP/2, a name, our Host" "TLSv1.3 HTTP/2.0 a.internal NONE  127.0.0.1:$port" "$(ask good)"
equal "an address needs no name" "TLSv1.3 HTTP/2.0  NONE  127.0.0.1:$port" "$(ask by-address)"
equal "a wildcard" "TLSv1.3 HTTP/2.0 x.w.internal NONE  127.0.0.1:$port" "$(ask by-wildcard)"
equal "HTTP/1.1 where no more is spoken" "TLSv1.3 HTTP/1.1 a.internal NONE  127.0.0.1:$port" "$(ask h1)"
equal "TLS 1.2 alone" "TLSv1.2 HTTP/2.0 a.internal NONE  127.0.0.1:$port" "$(ask tls12)"
equal "TLS 1.3 alone" "TLSv1.3 HTTP/2.0 a.internal NONE  127.0.0.1:$port" "$(ask tls13)"
equal "a root of the system's" "TLSv1.3 HTTP/2.0 a.internal NONE  127.0.0.1:$port" "$(ask system-known)"
equal "a certificate between" "TLSv1.3 HTTP/2.0 a.internal NONE  127.0.0.1:$port" "$(ask long)"
equal "we show who we are" "TLSv1.3 HTTP/2.0 a.internal SUCCESS CN=edge 127.0.0.1:$port" "$(ask asks)"
for version in 12 13; do
  equal "openssl demands to see who we are, and does" 200 "$(status "http://127.0.0.1:$port/verify$version-given/x")"
done
for name in permitted excluded narrow addresses bound; do
  contains "within the constraints: $name" '^TLSv1.3 HTTP/2.0' "$(ask "$name-inside")"
done
# nginx asks by HTTP, not by TLS: that is its answer, and not ours.
contains "nginx wants to see somebody" 'No required SSL certificate was sent' "$(ask asks-in-vain)"
contains "nginx is spoken to in cleartext" 'The plain HTTP request was sent to HTTPS port' "$(ask not-tls)"

# refused NAME ERROR KIND WORDS [STATUS]: what the client is told, what is counted, what the operator reads.
refused() {
  local name=$1 error=$2 kind=$3 words=$4 answer cause
  answer=$(ask "$name" -o "$scratch/body" -D - -H 'Accept: text/plain' | tr -d '\r')
  contains "$name: the status" "^HTTP/1.1 ${5:-502} " "$answer"
  contains "$name: Proxy-Status" "^proxy-status: pointsman; error=$error;" "$answer"
  grep -qE 'internal|127\.0\.0\.1|certs/' <<<"$answer$(cat "$scratch/body")" && fail "$name tells of the inside: $answer"
  contains "$name: counted" '^[1-9]' "$(metric "pointsman_upstream_tls_failures_total{cause=\"$kind\",upstream=\"$name\"}")"
  cause=$(curl -sS "http://127.0.0.1:$admin_port/status" | python3 -c 'import json, sys
for one in json.load(sys.stdin)["upstreams"]:
    if one["name"] == sys.argv[1]: print(one["last_tls_failure"]["cause"])' "$name")
  contains "$name: /status" "$words" "$cause"
  if grep -q OtherError <<<"$cause"; then fail "$name: no words for an operator: $cause"; fi
  contains "$name: the log" "\"message\":\"TLS handshake with the upstream failed: [^\"]*$words.*\"upstream\":\"$name\"" \
    "$(grep -F "\"$name\"" "$scratch/pointsman.log" || true)"
}
certificate() { refused "$1" tls_certificate_error certificate "$2"; }
certificate system-private 'is issued by CN=[^,]*, which is not trusted'
certificate stranger 'is issued by CN=[^,]*, which is not trusted'
certificate short 'is issued by CN=[^,]*, which is not trusted'
certificate twin 'is signed by an authority that has the same name as a trusted one, but another key'
certificate self-signed 'is issued by CN=[^,]*, which is not trusted'
certificate upstart 'is signed by a certificate of an end entity'
certificate wrong-name 'is for a.internal, .*, not b.internal'
certificate two-labels 'is for a.internal, .*, not y.x.w.internal'
certificate by-host 'is for a.internal, .*, not localhost'
certificate nameless 'is for no name, not a.internal'
certificate expired "expired at $(date -u -d '-1 day' +%Y-%m-%d)"
certificate early "is not valid before $(date -u -d '+1 day' +%Y-%m-%d)"
certificate misused 'may not be used by a server'
for name in permitted excluded narrow addresses bound; do certificate "$name-outside" 'for which its authority may issue none'; done
refused old tls_alert_received alert 'speaks neither TLS 1.2 nor TLS 1.3'
refused cipher tls_alert_received alert 'no version or cipher in common'
refused alpn tls_alert_received alert 'does not speak HTTP/2 or HTTP/1.1'
refused verify12-none tls_alert_received alert 'requires a client certificate'
refused verify13-none tls_alert_received alert 'requires a client certificate'
refused verify12-wrong tls_alert_received alert 'does not accept our client certificate, because it does not trust the authority'
refused verify13-wrong tls_alert_received alert 'does not accept our client certificate'
refused cleartext tls_protocol_error protocol 'does not speak TLS'
refused closing tls_protocol_error protocol 'closed the connection in the TLS handshake'
refused silent connection_timeout timeout 'did not finish the TLS handshake within 300ms' 504

# What is put right at the upstream needs nothing of us.
cp "$certs/good.pem" "$certs/expired.pem"
cp "$certs/good.key" "$certs/expired.key"
kill -HUP "$nginx_pid"
eventually "a renewed certificate" 200 status "http://127.0.0.1:$port/expired/x"

touch "$scratch/stop"
wait "$others_pid" || fail "the others were disturbed: $(cat "$scratch/others")"
contains "every other request was served" '^\{200: [0-9]{2,}\}$' "$(cat "$scratch/others")"
kill -TERM "$pointsman_pid"
wait "$pointsman_pid" || fail "it did not drain"
python3 - "$scratch/access.log" <<'PY' || fail "the access log does not say what happened"
import json, sys
seen = {}
for line in map(json.loads, open(sys.argv[1])):
    if line["status"] in (502, 504):
        seen.setdefault(line["detail"], set()).add(line["route"])
        assert line["upstream"] == line["route"] and line["termination"] in ("UC", "UH"), line
assert {"stranger", "expired", "permitted-outside"} <= seen["tls_certificate"], seen
assert {"cleartext", "closing"} <= seen["tls_protocol"], seen
assert {"old", "cipher", "verify12-none", "verify13-none"} <= seen["tls_alert"], seen
assert {"silent"} == seen["tls_timeout"], seen
PY
passed=$((passed + 1))
