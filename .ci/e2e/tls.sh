#!/usr/bin/env bash
# TLS with curl and openssl as clients: versions, ALPN, names, resumed sessions, client certificates, rejections, and
# certificates that are renewed and broken while the proxy runs.
source "$(dirname "$0")/lib.sh"
need openssl
start_upstreams stable canary
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
start_proxy
url="https://a.test:$tls_port"
# https FORMAT CURL-ARGUMENTS…: the values of a --write-out format.
https() { curl -sS --max-time 10 --cacert "$made/ca.pem" --connect-to "::127.0.0.1:$tls_port" -o /dev/null -w "$@"; }
over_tls=(--cacert "$made/ca.pem" --connect-to "::127.0.0.1:$tls_port")
client=(--cert "$made/clients/client.crt" --key "$made/clients/client.key")

equal "HTTP/2 by ALPN" "200 2" "$(https '%{http_code} %{http_version}' "$url/")"
equal "HTTP/1.1 by ALPN" "200 1.1" "$(https '%{http_code} %{http_version}' --http1.1 "$url/")"
equal "HTTP/1.1 without ALPN" "200 1.1" "$(https '%{http_code} %{http_version}' --no-alpn --http1.1 "$url/")"
equal "TLS 1.2" 200 "$(https '%{http_code}' --tls-max 1.2 "$url/")"
equal "TLS 1.3" 200 "$(https '%{http_code}' --tlsv1.3 "$url/")"
log_line() { grep -oE '"tls_version":"TLSv1.2","tls_cipher":"TLS_ECDHE_ECDSA_[A-Z0-9_]+","sni":"a.test"' "$scratch/access.log" | wc -l; }
eventually "the log has version, cipher and SNI" 1 log_line
equal "a name of a wildcard" 200 "$(https '%{http_code}' "https://x.wild.test:$tls_port/")"
if https '' "https://y.x.wild.test:$tls_port/" 2>/dev/null; then fail "a wildcard matches one label only"; fi
equal "X-Forwarded-Proto" https "$(seen_header x-forwarded-proto "${over_tls[@]}" "$url/headers")"
equal "cleartext on the TLS port" 400 "$(status --http1.1 "http://127.0.0.1:$tls_port/")"
equal "the redirect" "https://plain.test/x?y=1" \
  "$(curl -sS -o /dev/null -w '%{redirect_url}' -H 'Host: plain.test' "http://127.0.0.1:$port/x?y=1")"
head -c 20000000 /dev/urandom >"$scratch/large"
equal "a large body" 200 "$(https '%{http_code}' --data-binary "@$scratch/large" "$url/headers")"

# session OPTIONS…: the output of openssl s_client.
session() { timeout 10 openssl s_client -connect "127.0.0.1:$tls_port" -servername a.test -CAfile "$made/ca.pem" "$@" 2>&1; }
for version in 1_2 1_3; do
  output=$(printf 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' | session "-tls$version" -ign_eof -sess_out "$scratch/session")
  contains "openssl $version" 'Verify return code: 0' "$output"
  contains "openssl $version: a response" 'HTTP/1.1 200' "$output"
  output=$(printf 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' | session "-tls$version" -ign_eof -sess_in "$scratch/session")
  contains "openssl $version: resumed" '^Reused, ' "$output"
done
contains "TLS 1.1 is rejected" 'alert|no protocols available' "$(session -tls1_1 -cipher 'DEFAULT:@SECLEVEL=0' </dev/null || true)"
contains "no renegotiation" 'Secure Renegotiation IS (NOT )?supported' "$(session -tls1_2 </dev/null || true)"
contains "RSA key exchange is rejected" 'alert' "$(session -tls1_2 -cipher 'AES128-GCM-SHA256' </dev/null || true)"

equal "a client certificate decides" canary "$(served "${over_tls[@]}" "${client[@]}" "$url/")"
equal "without one there is no tenant" stable "$(served "${over_tls[@]}" "$url/")"
forwarded=$(seen_header x-forwarded-client-cert "${over_tls[@]}" "${client[@]}" -H 'X-Forwarded-Client-Cert: Hash=forged' "$url/headers")
contains "the upstream receives it" 'Hash=[0-9a-f]{64};Subject=.*CN=till-7,O=Acme.*;URI=spiffe://dev/till-7' "$forwarded"
if grep -q forged <<<"$forwarded"; then fail "a forged X-Forwarded-Client-Cert was forwarded"; fi
self_signed "$scratch/forged" till-7
if https '' --cert "$scratch/forged.crt" --key "$scratch/forged.key" "$url/" 2>/dev/null; then fail "an untrusted certificate was accepted"; fi
equal "the rejection is counted" 1 "$(metric 'pointsman_tls_handshake_failures_total{reason="certificate_refused"}')"

# Renewed, broken and repaired while the proxy runs.
serial() { session </dev/null | openssl x509 -noout -serial 2>/dev/null; }
before=$(serial)
cp -r "$made" "$scratch/next"
"$scratch/next/make-dev-certs.sh" a.test '*.wild.test' >/dev/null
cp "$scratch/next/server/dev.key" "$scratch/certs/dev.key"
cp "$scratch/next/server/dev.crt" "$scratch/certs/dev.crt"
after=$(openssl x509 -noout -serial -in "$scratch/next/server/dev.crt")
eventually "the renewed certificate is presented" "$after" serial
[ "$before" != "$after" ] || fail "the certificate is the same"
echo broken >"$scratch/certs/dev.crt"
eventually "an invalid certificate file is a metric" 1 metric 'pointsman_tls_certificate_stale{listener="https",name="localhost"}'
equal "the last valid certificate is presented" "$after" "$(serial)"
sed -i 's/weight = 0/weight = 100/' "$scratch/routes.toml"
eventually "an edit is applied meanwhile" canary served --cacert "$scratch/next/ca.pem" --connect-to "::127.0.0.1:$tls_port" "$url/"
cp "$scratch/next/server/dev.crt" "$scratch/certs/dev.crt"
eventually "the repaired file is used" 0 metric 'pointsman_tls_certificate_stale{listener="https",name="localhost"}'

# The demo, with a certificate that it creates.
launch "$pointsman" demo --tls --no-traffic --port 0 --admin-port 0 --dir "$scratch/demo"
demo_url() { awk '$1 == "https" { print $2 }' "$scratch/pointsman.log"; }
demo_status() { curl -sk --max-time 10 -o /dev/null -w '%{http_code} %{http_version}' -b uid=alice "$(demo_url)/"; }
eventually "the demo over TLS" "200 2" demo_status
