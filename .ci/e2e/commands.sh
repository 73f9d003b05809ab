#!/usr/bin/env bash
# demo without a terminal, and the commands: init, check, run without a file, status, reload, explain, what-if, schema.
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
for tool in run demo init check status reload explain what-if compare schema; do
  contains "$tool --help has an example" 'pointsman' "$("$pointsman" "$tool" --help)"
done

# A proxy without a file, looked at and reloaded as an operator does it.
start_upstream stable
start_upstream canary
free_ports bare_port bare_admin_port
port=$bare_port admin_port=$bare_admin_port
(cd "$scratch" && exec "$pointsman" run --to "$stable_port" --canary ":$canary_port=50" --listen "$port" --admin-listen ":$admin_port") \
  >"$scratch/pointsman.log" 2>&1 </dev/null &
pids+=("$!")
export POINTSMAN_ADMIN=127.0.0.1:$admin_port
healthy() { "$pointsman" status --health; }
eventually "the proxy without a file is healthy" "healthy: http://127.0.0.1:$admin_port" healthy
for _ in $(seq 60); do served "http://127.0.0.1:$port/"; done | sort | uniq -c >"$scratch/served"
equal "both versions serve callers without a cookie" 2 "$(wc -l <"$scratch/served")"
said=$("$pointsman" status)
contains "status says that there is no file" 'no file' "$said"
contains "status has a row for the canary" 'canary +50 ' "$said"
"$pointsman" status --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["generation"] == 1' || fail "status --json"
contains "reload says that there is no file" 'no file to read again' "$("$pointsman" reload)"

# init writes a file that runs; a rejected reload ends with 78 and is on top of the status.
free_ports fresh_port fresh_admin_port
port=$fresh_port admin_port=$fresh_admin_port
export POINTSMAN_ADMIN=127.0.0.1:$admin_port
(cd "$scratch" && "$pointsman" init fresh.toml --to "$stable_port" --canary "$canary_port=5" --listen "$port" --admin-listen "$admin_port") >/dev/null
contains "the written file has no warning" '^[^ ]+: 1 route, 2 upstreams$' "$("$pointsman" check "$scratch/fresh.toml" 2>&1)"
(cd "$scratch" && exec "$pointsman" run fresh.toml) >"$scratch/pointsman.log" 2>&1 </dev/null &
pids+=("$!")
eventually "the written file serves" "healthy: http://127.0.0.1:$admin_port" healthy
# reload_said: its exit code, and what it printed.
reload_said() {
  local code=0 said
  said=$("$pointsman" reload 2>&1) || code=$?
  echo "$code $said"
}
sed -i 's/^stable =/stabel =/' "$scratch/fresh.toml"
said=$(reload_said)
contains "a rejected reload ends with 78" '^78 ' "$said"
contains "a rejected reload prints the diagnostics" 'did you mean `stable`' "$said"
contains "the rejection is on top of the status" '^REJECTED ' "$("$pointsman" status | head -n 1)"
sed -i 's/^stabel =/stable =/; s/weight = 5 /weight = 6 /' "$scratch/fresh.toml"
contains "a reload of a valid file ends with 0" '^0 (reloaded|no change): generation 2' "$(reload_said)"
contains "the new weight is shown" 'canary +6 ' "$("$pointsman" status)"

# On a terminal of 60 columns --watch paints over itself, no line is wider, and Ctrl-C ends it with 0.
python3 "$here/terminal.py" "$pointsman" status --watch 100ms || fail "status --watch on a terminal"
passed=$((passed + 1))
export POINTSMAN_ADMIN=127.0.0.1:1
code=0
said=$("$pointsman" status 2>&1) || code=$?
equal "no proxy is exit code 1" 1 "$code"
contains "no proxy: what to do" 'POINTSMAN_ADMIN names this address' "$said"
code=0
said=$("$pointsman" kill shop:canary 2>&1) || code=$?
equal "a command of other proxies is wrong usage" 64 "$code"
contains "a command of other proxies: what is meant" '\[kill\] variants' "$said"
