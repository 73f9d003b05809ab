#!/usr/bin/env bash
# curl as the client: weights by an edit, targets, Host, bodies, Expect, HEAD, HTTP/1.0, keep-alive.
source "$(dirname "$0")/lib.sh"
start_upstreams stable canary
write_routes <<'TOML'
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant-id"]

[[route]]
name   = "shop"
match  = { host = "shop.test", path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 0 }
[[route.target]]
header = { x-canary = "always" }
serve  = "canary"
[[route.target]]
cookie = { preview = "v2" }
serve  = "canary"
[[route.target]]
tenant = ["acme"]
serve  = "canary"
TOML
start_proxy
shop="http://shop.test:$port"
to=(--resolve "shop.test:$port:127.0.0.1" --resolve "other.test:$port:127.0.0.1")

# shares NAME: how many of 100 requests it serves.
shares() {
  local urls=() i
  for i in $(seq 100); do urls+=("$shop/hello"); done
  curl -sS --max-time 30 "${to[@]}" "${urls[@]}" | grep -c "$1" || true
}

# The weight changes by an edit in place, by a rename as of an editor, and by a rename of another file.
equal "weight 0 serves stable" stable "$(served "${to[@]}" "$shop/")"
equal "weight 0 serves no canary" 100 "$(shares stable)"
set_weight 0 100
eventually "weight 100 after sed -i" canary served "${to[@]}" "$shop/"
equal "weight 100 serves the canary alone" 100 "$(shares canary)"
sed 's/weight = 100 /weight = 30 /' "$scratch/routes.toml" >"$scratch/routes.next"
mv "$scratch/routes.next" "$scratch/routes.toml"
eventually "weight 30 after mv" 3 metric pointsman_config_generation
# The sequence of a worker starts at 0: any 100 requests in a row have 28 to 32 buckets below 30 %.
within "30 of 100 without a sticky key" 28 32 "$(shares canary)"
set_weight 30 0
eventually "weight 0 again" 4 metric pointsman_config_generation

# Targets: header, cookie, tenant.
equal "a header target" canary "$(served "${to[@]}" -H 'X-Canary: always' "$shop/")"
equal "another value of the header" stable "$(served "${to[@]}" -H 'X-Canary: never' "$shop/")"
equal "a cookie target" canary "$(served "${to[@]}" -b 'a=b; preview=v2' "$shop/")"
equal "a tenant target" canary "$(served "${to[@]}" -H 'X-Tenant-Id: acme' "$shop/")"
equal "another tenant" stable "$(served "${to[@]}" -H 'X-Tenant-Id: globex' "$shop/")"

# A kill has precedence over a target.
printf '[kill]\ntenants = ["acme"]\n' >>"$scratch/routes.toml"
eventually "a killed tenant" stable served "${to[@]}" -H 'X-Tenant-Id: acme' "$shop/"

# Host.
equal "an unknown host" 404 "$(status "${to[@]}" "http://other.test:$port/")"
contains "Host is preserved" "^x-seen-host: shop.test:$port" "$(curl -sSi "${to[@]}" "$shop/" | tr '[:upper:]\r' '[:lower:] ')"

# Headers that the upstream receives.
seen=$(curl -sS "${to[@]}" -H 'Connection: x-hop' -H 'X-Hop: 1' "$shop/headers")
contains "a forwarded address" '"x-forwarded-for", "127.0.0.1"' "$seen"
contains "a request id" '"x-request-id"' "$seen"
contains "Via" '"via"' "$seen"
if grep -q x-hop <<<"$seen"; then fail "a field that Connection names was forwarded"; fi

# Bodies.
head -c 3000000 /dev/urandom >"$scratch/body"
sum=$(sha256sum "$scratch/body" | cut -d' ' -f1)
output=$(curl -sSi "${to[@]}" -H 'Transfer-Encoding: chunked' -T "$scratch/body" "$shop/upload")
contains "a chunked upload" "x-body-sha256: $sum" "$output"
output=$(curl -sSi "${to[@]}" -H 'Expect:' --data-binary "@$scratch/body" "$shop/upload")
contains "an upload with a length" "x-body-sha256: $sum" "$output"
output=$(curl -sSv "${to[@]}" -H 'Expect: 100-continue' --data-binary "@$scratch/body" "$shop/upload" 2>&1)
contains "100-continue" '^< HTTP/1.1 100' "$output"
contains "100-continue, the body" "x-body-sha256: $sum" "$output"
output=$(curl -sSi "${to[@]}" -X GET -H 'Transfer-Encoding: chunked' --data-binary 'seven b' "$shop/upload")
contains "GET with a chunked body" 'x-body-bytes: 7' "$output"

# HEAD, HTTP/1.0, keep-alive.
head=$(curl -sSI "${to[@]}" "$shop/")
contains "HEAD" '^HTTP/1.1 200' "$head"
contains "HEAD has the length" '^content-length: 7' "$(tr "[:upper:]" "[:lower:]" <<<"$head")"
equal "HTTP/1.0" 200 "$(status -0 "${to[@]}" "$shop/")"
equal "two requests, one connection" "1 0" \
  "$(curl -sS "${to[@]}" -o /dev/null -o /dev/null -w '%{num_connects} ' "$shop/a" "$shop/b" | sed 's/ $//')"

# Two requests in one write; a request without Host.
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /b HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n' >&3
equal "pipelining" 2 "$(timeout 10 cat <&3 | grep -c '^HTTP/1.1 200')"
exec 3>&-
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET / HTTP/1.1\r\n\r\n' >&3
contains "no Host" '^HTTP/1.1 400' "$(timeout 10 head -n 1 <&3)"
exec 3>&-

# The access log has one object a request, with the reason of the decision.
eventually "lines in the access log" yes sh -c "grep -q '\"reason\":\"target\"' '$scratch/access.log' && echo yes"
python3 - "$scratch/access.log" <<'PY' || fail "the access log is not one JSON object a line with the expected fields"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert len(lines) > 300, len(lines)
for field in ("time", "method", "host", "path", "status", "route", "variant", "reason", "generation"):
    assert field in lines[0], field
PY
passed=$((passed + 1))
