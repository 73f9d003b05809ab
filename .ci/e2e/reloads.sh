#!/usr/bin/env bash
# 200 reloads at 500 requests a second: no request is lost, and none is decided by a mixture. The rules a and b differ in
# every part of a decision: the variant, the addresses of the upstreams, the marks on requests and responses, the forwarded
# path. In the access log odd generations have rules a, even ones rules b.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
# rules MARK V1_PORT V2_PORT WEIGHT
rules() {
  cat <<TOML
[upstream.v1]
endpoints = ["http://127.0.0.1:$2"]
[upstream.v2]
endpoints = ["http://127.0.0.1:$3"]

[[route]]
name    = "all-$1"
match   = { path = "/*" }
stable  = "v1"
canary  = { upstream = "v2", weight = $4 }
rewrite = { prefix = "/$1/" }
headers = { request = { set = { x-mark = "$1" } }, response = { set = { x-mark = "$1" } } }
TOML
}
write_routes </dev/null
sed -i '/^\[upstream/,$d' "$scratch/routes.toml"
cp "$scratch/routes.toml" "$scratch/head.toml"
# Rules a send all requests to the stable upstream as v1, rules b to the canary upstream as v2.
{ cat "$scratch/head.toml"; rules a "$stable_port" "$canary_port" 0; } >"$scratch/A.toml"
{ cat "$scratch/head.toml"; rules b "$stable_port" "$canary_port" 100; } >"$scratch/B.toml"
# The same with the upstreams' names exchanged.
{ cat "$scratch/head.toml"; rules a "$canary_port" "$stable_port" 100; } >"$scratch/C.toml"
{ cat "$scratch/head.toml"; rules b "$canary_port" "$stable_port" 0; } >"$scratch/D.toml"
cp "$scratch/A.toml" "$scratch/routes.toml"
start_proxy
start_load --marked
began=$(now_ms)
order=(B C D A)
for i in $(seq 0 199); do
  cp "$scratch/${order[i % 4]}.toml" "$scratch/routes.next"
  mv "$scratch/routes.next" "$scratch/routes.toml"
  admin /reload -X POST -o /dev/null
  wait_ms=$((began + (i + 1) * 60 - $(now_ms)))
  [ "$wait_ms" -le 0 ] || sleep "$(printf '0.%03d' "$wait_ms")"
done
took=$(($(now_ms) - began))
equal "every reload made one generation" 201 "$(metric pointsman_config_generation)"
end_load
echo "   200 reloads in $took ms"
within "milliseconds for 200 reloads" 11000 40000 "$took"
all_ok
# The machine's speed decides how many requests each has; both must occur.
within "requests under a" 1000 10000000 "$(served_ok stable)"
within "requests under b" 1000 10000000 "$(served_ok canary)"
stop_proxy
python3 - "$scratch" "$stable_port" "$canary_port" "$(requests ok)" <<'PY' || fail "the access log has a request with mixed rules"
import json, sys
scratch, stable, canary, expected = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
rules = [("all-b", "canary", "v2", canary), ("all-a", "canary", "v2", stable),
         ("all-b", "stable", "v1", canary), ("all-a", "stable", "v1", stable)]
lines = [json.loads(line) for line in open(f"{scratch}/access.log")]
assert len(lines) == expected, (len(lines), expected)
for line in lines:
    found = (line["route"], line["variant"], line["upstream"], int(line["endpoint"].rsplit(":", 1)[1]))
    assert found == rules[(line["generation"] - 2) % 4], line
seen = {line["generation"] for line in lines}
assert len(seen) > 150, sorted(seen)
print(f"   {len(lines)} lines under {len(seen)} generations, none with mixed rules")
PY
passed=$((passed + 1))
