#!/usr/bin/env bash
# TLS with peers that others have written: curl and openssl. Versions, protocols, names, resumed sessions, client
# certificates, what is refused, and certificates that are renewed and broken while it runs.
source "$(dirname "$0")/lib.sh"
need curl python3 openssl
start_upstream stable
start_upstream canary
mkdir "$scratch/made" "$scratch/certs"
cp "$here/../../certs/make-dev-certs.sh" "$scratch/made/"
"$scratch/made/make-dev-certs.sh" a.test '*.wild.test' >/dev/null
made=$scratch/made
cp "$made/server/dev.crt" "$made/server/dev.key" "$scratch/certs/"
tls_port=$(free_port)
write_routes <<TOML
[[listener]]
name    = "https"
address = "127.0.0.1:$tls_port"
[listener.tls]
certificates = ["certs"]
client_auth  = { ca = "$made/clients/clients.pem", mode = "request" }

[identity]
tenant = ["client_cert:cn"]

[[route]]
name     = "to-https"
match    = { host = "plain.test" }
redirect = { to = "https://{host}{path}{query}", status = 308 }

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 0 }
[[route.target]]
client_cert = { cn = "till-7" }
serve  = "canary"
TOML
start_pointsman
url="https://a.test:$tls_port"
ask() { curl -sS --max-time 10 --cacert "$made/ca.pem" --connect-to "::127.0.0.1:$tls_port" "$@"; }
told() { ask -o /dev/null -w "$1" "${@:2}"; }
client=(--cert "$made/clients/client.crt" --key "$made/clients/client.key")

equal "HTTP/2 by ALPN" "200 2" "$(told '%{http_code} %{http_version}' "$url/")"
equal "HTTP/1.1 by ALPN" "200 1.1" "$(told '%{http_code} %{http_version}' --http1.1 "$url/")"
equal "HTTP/1.1 without ALPN" "200 1.1" "$(told '%{http_code} %{http_version}' --no-alpn --http1.1 "$url/")"
equal "TLS 1.2" "200" "$(told '%{http_code}' --tls-max 1.2 "$url/")"
equal "TLS 1.3" "200" "$(told '%{http_code}' --tlsv1.3 "$url/")"
contains "the log" '"tls_version":"TLSv1.2","tls_cipher":"TLS_ECDHE_ECDSA_[A-Z0-9_]+","sni":"a.test"' "$(sleep 0.3; cat "$scratch/access.log")"
equal "a wildcard's name" "200" "$(told '%{http_code}' "https://x.wild.test:$tls_port/")"
if ask -o /dev/null "https://y.x.wild.test:$tls_port/" 2>/dev/null; then fail "a wildcard stands for one label"; fi
headers=$(ask "$url/headers")
contains "the upstream is told" '"x-forwarded-proto", "https"' "$headers"
equal "cleartext is told so" "400" "$(status --http1.1 "http://127.0.0.1:$tls_port/")"
equal "the redirect" "https://plain.test/x?y=1" \
  "$(curl -sS -o /dev/null -w '%{redirect_url}' -H 'Host: plain.test' "http://127.0.0.1:$port/x?y=1")"
head -c 20000000 /dev/urandom >"$scratch/large"
equal "a large body" "200" "$(told '%{http_code}' --data-binary "@$scratch/large" "$url/headers")"

# openssl ARGUMENTS…: what it says of a connection.
session() { timeout 10 openssl s_client -connect "127.0.0.1:$tls_port" -servername a.test -CAfile "$made/ca.pem" "$@" 2>&1; }
for version in 1_2 1_3; do
  said=$(printf 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' | session "-tls$version" -ign_eof -sess_out "$scratch/session")
  contains "openssl $version" 'Verify return code: 0' "$said"
  contains "openssl $version: whole" 'HTTP/1.1 200' "$said"
  said=$(printf 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' | session "-tls$version" -ign_eof -sess_in "$scratch/session")
  contains "openssl $version: resumed" '^Reused, ' "$said"
done
contains "TLS 1.1 is refused" 'alert|no protocols available' "$(session -tls1_1 -cipher 'DEFAULT:@SECLEVEL=0' </dev/null || true)"
contains "no renegotiation" 'Secure Renegotiation IS (NOT )?supported' "$(session -tls1_2 </dev/null || true)"
contains "RSA key exchange is refused" 'alert' "$(session -tls1_2 -cipher 'AES128-GCM-SHA256' </dev/null || true)"

equal "a client's certificate decides" "canary" "$(ask -D - -o /dev/null "${client[@]}" "$url/" | tr -d '\r' | sed -n 's/^x-served-by: //Ip')"
equal "none is nobody" "stable" "$(ask -D - -o /dev/null "$url/" | tr -d '\r' | sed -n 's/^x-served-by: //Ip')"
headers=$(ask "${client[@]}" -H 'X-Forwarded-Client-Cert: Hash=forged' "$url/headers")
contains "the upstream knows it" 'Hash=[0-9a-f]{64};Subject=.*CN=till-7,O=Acme.*;URI=spiffe://dev/till-7' "$headers"
if grep -q forged <<<"$headers"; then fail "a forged certificate came through"; fi
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=till-7 -keyout "$scratch/forged.key" -out "$scratch/forged.crt" 2>/dev/null
if ask -o /dev/null --cert "$scratch/forged.crt" --key "$scratch/forged.key" "$url/" 2>/dev/null; then fail "a stranger's certificate"; fi
equal "and is counted" 1 "$(metric 'pointsman_tls_handshake_failures_total{reason="certificate_refused"}')"

# Renewed, broken and mended while it runs.
serial() { session </dev/null | openssl x509 -noout -serial 2>/dev/null; }
before=$(serial)
cp -r "$made" "$scratch/next"
"$scratch/next/make-dev-certs.sh" a.test '*.wild.test' >/dev/null
cp "$scratch/next/server/dev.key" "$scratch/certs/dev.key"
cp "$scratch/next/server/dev.crt" "$scratch/certs/dev.crt"
after=$(openssl x509 -noout -serial -in "$scratch/next/server/dev.crt")
eventually "the renewed one is presented" "$after" serial
[ "$before" != "$after" ] || fail "nothing was renewed"
echo broken >"$scratch/certs/dev.crt"
stale() { metric 'pointsman_tls_certificate_stale{listener="https",name="localhost"}'; }
eventually "a broken one is told" 1 stale
equal "the last good one is served on" "$after" "$(serial)"
sed -i 's/weight = 0/weight = 100/' "$scratch/routes.toml"
made=$scratch/next
served_now() { ask -D - -o /dev/null "$url/" | tr -d '\r' | sed -n 's/^x-served-by: //Ip'; }
eventually "edits go on meanwhile" canary served_now
cp "$scratch/next/server/dev.crt" "$scratch/certs/dev.crt"
eventually "all is well" 0 stale

# The demo, with a certificate that it makes for itself.
"$pointsman" demo --tls --no-traffic --port 0 --admin-port 0 --dir "$scratch/demo" </dev/null >"$scratch/demo.out" 2>&1 &
pids+=($!)
place() { awk '$1 == "https" { print "there" }' "$scratch/demo.out"; }
eventually "the demo says where it listens" there place
https=$(awk '$1 == "https" { print $2 }' "$scratch/demo.out")
equal "the demo over TLS" "200 2" "$(curl -sk -o /dev/null -w '%{http_code} %{http_version}' -b uid=alice "$https/")"
