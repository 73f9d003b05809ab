#!/usr/bin/env bash
# Verified callers: tokens of PyJWT and joserfc, a country database of mmdb_writer that maxminddb reads, client certificates
# with unusual names. An invalid token or certificate gives no identity, is counted, and leaves no memory behind; a client
# cannot set its own identity.
source "$(dirname "$0")/lib.sh"
need openssl
unpacked nginx nginx
python_packages certificates cryptography cryptography==50.0.2
python_packages identities jwt,joserfc,maxminddb,mmdb_writer,netaddr \
  PyJWT==2.10.1 joserfc==1.8.0 maxminddb==3.2.0 mmdb-writer==0.2.7 cryptography==50.0.2
mkdir "$scratch/certs" "$scratch/made"
python3 "$here/certificates.py" "$scratch/certs"
certs=$scratch/certs made=$scratch/made
python3 "$here/identities.py" make "$made"

# nginx returns the headers that describe the caller. It treats `_` as `-`, like many upstreams.
free_ports stable_port secure_port
start_nginx <<CFG
  keepalive_requests 1000000;
  large_client_header_buffers 4 64k;
  underscores_in_headers on;
  server {
    listen 127.0.0.1:$stable_port;
    location / { return 200 '\$http_x_variant|\$http_x_caller_tenant|\$http_x_tenant_id|\$http_x_forwarded_client_cert\\n'; }
  }
CFG

countries="" variants=""
for code in DE FR US BR JP ZA SE NZ; do
  variants+="[[route.variant]]"$'\n'"name = \"in-${code,,}\""$'\n'"upstream = \"v2\""$'\n'"weight = 0"$'\n'
  countries+="[[route.target]]"$'\n'"country = \"$code\""$'\n'"serve = \"in-${code,,}\""$'\n'
done
# nginx rejects a request with two tokens, so that the proxy removes them.
headers='{ request = { set = { x-caller-tenant = "{tenant}", x-variant = "{variant}" }, remove = ["authorization"] } }'
write_routes <<TOML
[[listener]]
name    = "secure"
address = "127.0.0.1:$secure_port"
[listener.tls]
certificates = [{ cert = "$certs/good.pem", key = "$certs/good.key" }]
client_auth  = { ca = "$certs/clients.pem", mode = "request" }

[identity]
trusted_proxies = ["127.0.0.2"]
tenant = ["jwt:org.tenant", "client_cert:cn", "header:x-tenant-id"]
user   = ["jwt:sub", "client_cert:uri"]
jwt    = { keys = "$made/jwks.json", issuer = "https://id.test", audience = "shop" }
geo    = { database = "$made/geo.mmdb" }
[segment.admins]
jwt = { groups = "admin" }

[[route]]
name    = "who"
match   = { path = "/who" }
stable  = "v1"
headers = $headers
$(for name in user tenant segment claim name dns; do printf '[[route.variant]]\nname = "by-%s"\nupstream = "v2"\nweight = 0\n' $name; done)
[[route.target]]
user  = ["u7", "spiffe://acme/till-7"]
serve = "by-user"
[[route.target]]
tenant = "acme"
serve  = "by-tenant"
[[route.target]]
segment = "admins"
serve   = "by-segment"
[[route.target]]
jwt   = { level = "7" }
serve = "by-claim"
[[route.target]]
client_cert = { cn = "till-7" }
serve = "by-name"
[[route.target]]
client_cert = { dns = "till-7.acme.test" }
serve = "by-dns"

[[route]]
name    = "where"
match   = { path = "/where" }
stable  = "v1"
headers = $headers
$variants
$countries
TOML
sed -i "0,/^address/s//limits = { header_bytes = \"64KiB\" }\naddress/" "$scratch/routes.toml"
start_proxy
eventually "nginx is there" 200 status "http://127.0.0.1:$port/who"

for part in tokens countries rotation repeat; do
  python_checks "$part" identities.py "$part" "$made" "$port" "$admin_port" "$proxy_pid"
done

# Client certificates, and the headers that describe them to the upstream.
present() {
  curl -sS --max-time 10 --cacert "$certs/ca.pem" --connect-to "::127.0.0.1:$secure_port" \
    --cert "$certs/$1.pem" --key "$certs/$1.key" "${@:2}" "https://a.internal/who"
}
# described NAME EXPECTED: without the hash, which must be that of the certificate.
described() {
  local found hash
  found=$(present "$1" -H 'X-Forwarded-Client-Cert: Hash=0;URI=spiffe://acme/root' -H 'X-Tenant-Id: root' -H 'X_Caller_Tenant: root')
  hash=$(openssl x509 -in "$certs/$1.pem" -outform der | sha256sum | cut -d' ' -f1)
  equal "the client certificate: $1" "$2" "${found/Hash=$hash;/}"
}
described plain 'by-user|till-7||Subject="CN=till-7";URI=spiffe://acme/till-7;DNS=till-7.acme.test'
# A name with control characters is no name; the header has it escaped.
described nul 'stable|||Subject="CN=till-7\\00.evil"'
described line 'stable|||Subject="CN=till-7\\0D\\0Ax-tenant: root"'
described quotes 'stable|a";Hash=0,"b\||Subject="CN=a\\\"\\;Hash\\=0\\,\\\"b\\\\";URI="a\";URI=spiffe://acme/root"'
described letters 'stable|Kasse Süd 七||Subject="CN=Kasse S\\C3\\BCd \\E4\\B8\\83"'
described two 'stable|till-8||Subject="CN=till-8,CN=till-7"'
described empty 'stable|||Subject="";URI=spiffe://acme/empty'
described capitals 'stable|TILL-7||Subject="CN=TILL-7"'
many=$(present many)
equal "a hundred names" 100 "$(grep -o ';DNS=' <<<"$many" | wc -l)"
contains "a blank at the end makes another name" '^stable\|' "$(present blank)"
contains "the upstream does not receive it either" '^stable\|(\||till-7[^|])' "$(present blank)"
token=$(cat "$made/token")
equal "the token has precedence, and the upstream receives both" 'by-tenant|acme||Subject="CN=till-7 "' \
  "$(present blank -H "Authorization: Bearer $token" | sed 's/Hash=[0-9a-f]*;//')"

# Untrusted certificates fail the handshake.
limits=(permitted excluded narrow addresses)
for name in "${limits[@]}"; do
  contains "within the constraints: $name" '^stable\|a\|\|Hash=' "$(present "$name-client")"
done
rejected=0
for name in forged expired-client misused-client stranger "${limits[@]/%/-client-outside}"; do
  if present "$name" >/dev/null 2>&1; then fail "the certificate $name was accepted"; fi
  rejected=$((rejected + 1))
  equal "the rejection is counted: $name" "$rejected" "$(metric 'pointsman_tls_handshake_failures_total{reason="certificate_refused"}')"
done
described plain 'by-user|till-7||Subject="CN=till-7";URI=spiffe://acme/till-7;DNS=till-7.acme.test'

stop_proxy
if grep -qE 'eyJ[A-Za-z0-9_-]{10}' "$scratch/access.log" "$scratch/pointsman.log"; then fail "a log contains a token"; fi
