#!/usr/bin/env bash
# demo without a terminal, and the tools: explain, what-if, schema, help.
source "$(dirname "$0")/lib.sh"
need curl python3

(cd "$scratch" && exec "$pointsman" demo --port 0 --admin-port 0) >"$scratch/pointsman.log" 2>&1 </dev/null &
demo_pid=$!
pids+=("$demo_pid")
address() { grep -oE 'http://(127\.0\.0\.1|localhost):[0-9]+' "$scratch/pointsman.log" | head -n 1; }
demo_status() { status "$(address)/"; }
eventually "the demo serves" 200 demo_status
kill -TERM "$demo_pid"
code=0
wait "$demo_pid" || code=$?
equal "the demo's exit code" 0 "$code"

stable_port=1 canary_port=2
write_routes <<'TOML'
[[route]]
name   = "shop"
match  = { host = "shop.test", path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 50 }
sticky = ["client_ip"]
TOML
cp "$scratch/routes.toml" "$scratch/old.toml"
sed -i 's/weight = 50/weight = 60/' "$scratch/routes.toml"
file=$scratch/routes.toml
said=$("$pointsman" explain "$file" --host shop.test --path /pay --client-ip 192.0.2.7)
contains "explain names the route" 'shop' "$said"
contains "explain names the bucket" '[Bb]ucket' "$said"
"$pointsman" explain --json --file "$file" --host shop.test --path /pay --client-ip 192.0.2.7 | python3 -m json.tool >/dev/null ||
  fail "explain --json is not JSON"
contains "what-if names the share" '10' "$("$pointsman" what-if "$file" --against "$scratch/old.toml")"
"$pointsman" schema | python3 -m json.tool >/dev/null || fail "schema is not JSON"
for tool in run demo check explain what-if schema; do
  contains "$tool --help has an example" 'pointsman' "$("$pointsman" "$tool" --help)"
done
