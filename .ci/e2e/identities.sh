#!/usr/bin/env bash
# Callers who are verified, by what others have made: tokens of PyJWT and joserfc, countries of a database that mmdb_writer
# wrote and maxminddb reads, client certificates with odd names. Who does not hold is nobody, is counted, and costs
# nothing; who is not verified cannot say who he is.
source "$(dirname "$0")/lib.sh"
need curl python3 openssl
unpacked nginx nginx
python_packages certificates cryptography cryptography==50.0.2
python_packages identities jwt,joserfc,maxminddb,mmdb_writer,netaddr \
  PyJWT==2.10.1 joserfc==1.8.0 maxminddb==3.2.0 mmdb-writer==0.2.7 cryptography==50.0.2
mkdir "$scratch/certs" "$scratch/made" "$scratch/nginx"
python3 "$here/certificates.py" "$scratch/certs"
certs=$scratch/certs made=$scratch/made
python3 "$here/identities.py" make "$made"

# What it was told of the caller. It takes `_` for `-`, as many upstreams do.
free_ports stable_port secure_port
canary_port=$stable_port
cat >"$scratch/nginx.conf" <<CFG
worker_processes 1;
daemon off;
pid $scratch/nginx/pid;
error_log $scratch/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $scratch/nginx/a; proxy_temp_path $scratch/nginx/b; fastcgi_temp_path $scratch/nginx/c;
  uwsgi_temp_path $scratch/nginx/d; scgi_temp_path $scratch/nginx/e;
  keepalive_requests 1000000;
  large_client_header_buffers 4 64k;
  underscores_in_headers on;
  server {
    listen 127.0.0.1:$stable_port;
    location / { return 200 '\$http_x_variant|\$http_x_told_tenant|\$http_x_tenant_id|\$http_x_forwarded_client_cert\\n'; }
  }
}
CFG
nginx -p "$scratch/nginx" -c "$scratch/nginx.conf" >"$scratch/nginx.log" 2>&1 &
pids+=($!)

countries="" variants=""
for code in DE FR US BR JP ZA SE NZ; do
  variants+="[[route.variant]]"$'\n'"name = \"in-${code,,}\""$'\n'"upstream = \"v2\""$'\n'"weight = 0"$'\n'
  countries+="[[route.target]]"$'\n'"country = \"$code\""$'\n'"serve = \"in-${code,,}\""$'\n'
done
# nginx refuses what has two tokens: it sees none.
told='{ request = { set = { x-told-tenant = "{tenant}", x-variant = "{variant}" }, remove = ["authorization"] } }'
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
headers = $told
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
headers = $told
$variants
$countries
TOML
sed -i "0,/^address/s//limits = { header_bytes = \"64KiB\" }\naddress/" "$scratch/routes.toml"
start_pointsman
eventually "nginx is there" 200 status "http://127.0.0.1:$port/who"

# part WORD: a part of the checks.
part() {
  local checks
  checks=$(timeout 100 python3 "$here/identities.py" "$1" "$made" "$port" "$admin_port" "$pointsman_pid" 2>"$scratch/said") ||
    fail "$1: $(tail -n 5 "$scratch/said")"
  cat "$scratch/said"
  echo "   $1: $checks checks"
  passed=$((passed + checks))
}
part tokens
part countries
part rotation
part repeat

# Client certificates: who shows one, and what the upstream is told of him.
shown() {
  curl -sS --max-time 10 --cacert "$certs/ca.pem" --connect-to "::127.0.0.1:$secure_port" \
    --cert "$certs/$1.pem" --key "$certs/$1.key" "${@:2}" "https://a.internal/who"
}
# told NAME WHAT: without the hash, which must be that of the certificate.
told() {
  local found hash
  found=$(shown "$1" -H 'X-Forwarded-Client-Cert: Hash=0;URI=spiffe://acme/root' -H 'X-Tenant-Id: root' -H 'X_Told_Tenant: root')
  hash=$(openssl x509 -in "$certs/$1.pem" -outform der | sha256sum | cut -d' ' -f1)
  equal "a client's certificate: $1" "$2" "${found/Hash=$hash;/}"
}
told plain 'by-user|till-7||Subject="CN=till-7";URI=spiffe://acme/till-7;DNS=till-7.acme.test'
# A name with control characters is none; what is told of it is escaped.
told nul 'stable|||Subject="CN=till-7\\00.evil"'
told line 'stable|||Subject="CN=till-7\\0D\\0Ax-tenant: root"'
told quotes 'stable|a";Hash=0,"b\||Subject="CN=a\\\"\\;Hash\\=0\\,\\\"b\\\\";URI="a\";URI=spiffe://acme/root"'
told letters 'stable|Kasse Süd 七||Subject="CN=Kasse S\\C3\\BCd \\E4\\B8\\83"'
told two 'stable|till-8||Subject="CN=till-8,CN=till-7"'
told empty 'stable|||Subject="";URI=spiffe://acme/nobody'
told capitals 'stable|TILL-7||Subject="CN=TILL-7"'
many=$(shown many)
equal "a hundred names" 100 "$(grep -o ';DNS=' <<<"$many" | wc -l)"
contains "a blank at the end makes another name" '^stable\|' "$(shown blank)"
contains "which the upstream is not told either" '^stable\|(\||till-7[^|])' "$(shown blank)"
token=$(cat "$made/token")
equal "the token comes first, and both are told" 'by-tenant|acme||Subject="CN=till-7 "' \
  "$(shown blank -H "Authorization: Bearer $token" | sed 's/Hash=[0-9a-f]*;//')"

# Who must not be believed does not get as far.
limits=(permitted excluded narrow addresses)
for name in "${limits[@]}"; do
  contains "within the constraints: $name" '^stable\|a\|\|Hash=' "$(shown "$name-client")"
done
refused=0
for name in forged expired-client misused-client stranger "${limits[@]/%/-client-outside}"; do
  if shown "$name" >/dev/null 2>&1; then fail "the certificate $name was believed"; fi
  refused=$((refused + 1))
  equal "it is counted: $name" "$refused" "$(metric 'pointsman_tls_handshake_failures_total{reason="certificate_refused"}')"
done
told plain 'by-user|till-7||Subject="CN=till-7";URI=spiffe://acme/till-7;DNS=till-7.acme.test'

kill -TERM "$pointsman_pid"
wait "$pointsman_pid" || fail "it did not drain"
if grep -qE 'eyJ[A-Za-z0-9_-]{10}' "$scratch/access.log" "$scratch/pointsman.log"; then fail "a token stands in a log"; fi
