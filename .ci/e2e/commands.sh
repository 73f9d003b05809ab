#!/usr/bin/env bash
# demo without a terminal, and the commands: init, check, run without a file, status, kill, revive, journal, token,
# reload, explain, what-if, schema.
source "$(dirname "$0")/lib.sh"

launch "$pointsman" demo --port 0 --admin-port 0
demo_url() { grep -oE 'http://(127\.0\.0\.1|localhost):[0-9]+' "$scratch/pointsman.log" | head -n 1; }
demo_status() { status "$(demo_url)/"; }
eventually "the demo serves" 200 demo_status
stop_proxy

stable_port=1 canary_port=2
write_routes <<'TOML'
[[route]]
name   = "shop"
match  = { host = "shop.test", path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 50 }
sticky = ["client_ip"]
TOML
file=$scratch/routes.toml
cp "$file" "$scratch/old.toml"
set_weight 50 60
output=$("$pointsman" explain "$file" --host shop.test --path /pay --client-ip 192.0.2.7)
contains "explain prints the route" 'shop' "$output"
contains "explain prints the bucket" '[Bb]ucket' "$output"
"$pointsman" explain --json --file "$file" --host shop.test --path /pay --client-ip 192.0.2.7 | json it >/dev/null ||
  fail "explain --json is not JSON"
contains "what-if prints the share" '10' "$("$pointsman" what-if "$file" --against "$scratch/old.toml")"
"$pointsman" schema | json it >/dev/null || fail "schema is not JSON"
for name in run demo init check status kill revive reload journal events token explain what-if compare schema; do
  contains "$name --help has an example" 'pointsman' "$("$pointsman" "$name" --help)"
done

# A proxy without a file; status and reload.
start_upstreams stable canary
start_proxy run --to "$stable_port" --canary ":$canary_port=50" --listen "$port" --admin-listen ":$admin_port"
export POINTSMAN_ADMIN=127.0.0.1:$admin_port
equal "the proxy without a file is healthy" "healthy: http://127.0.0.1:$admin_port" "$("$pointsman" status --health)"
for _ in $(seq 60); do served "http://127.0.0.1:$port/"; done | sort | uniq -c >"$scratch/served"
equal "both versions serve callers without a cookie" 2 "$(wc -l <"$scratch/served")"
output=$("$pointsman" status)
contains "status shows that there is no file" 'no file' "$output"
contains "status has a row for the canary" 'canary +50 ' "$output"
equal "status --json" 1 "$("$pointsman" status --json | json 'it["generation"]')"
contains "reload reports that there is no file" 'no file' "$("$pointsman" reload)"

stop_proxy

# init writes a file that runs; a rejected reload ends with 78 and is on top of the status.
free_ports port admin_port
export POINTSMAN_ADMIN=127.0.0.1:$admin_port
(cd "$scratch" && "$pointsman" init fresh.toml --to "$stable_port" --canary "$canary_port=5" --listen "$port" --admin-listen "$admin_port") >/dev/null
contains "the written file has no warning" '^[^ ]+: 1 route, 2 upstreams$' "$("$pointsman" check "$scratch/fresh.toml" 2>&1)"
start_proxy run fresh.toml
# reload: its exit code and its output.
reload() {
  local code=0 output
  output=$("$pointsman" reload 2>&1) || code=$?
  echo "$code $output"
}
sed -i 's/^stable =/stabel =/' "$scratch/fresh.toml"
output=$(reload)
contains "a rejected reload ends with 78" '^78 ' "$output"
contains "a rejected reload prints the diagnostics" 'did you mean `stable`' "$output"
contains "the rejection is on top of the status" '^REJECTED ' "$("$pointsman" status | head -n 1)"
sed -i 's/^stabel =/stable =/; s/weight = 5 /weight = 6 /' "$scratch/fresh.toml"
contains "a reload of a valid file ends with 0" '^0 (reloaded|no change): generation 2' "$(reload)"
contains "status shows the new weight" 'canary +6 ' "$("$pointsman" status)"

# In its folder the socket of the proxy is found, and an act needs no token.
output=$(cd "$scratch" && unset POINTSMAN_ADMIN && "$pointsman" kill --variant app:canary --reason 'errors')
contains "kill is in force" '^killed variant app:canary: in force on [0-9]+ of [0-9]+ workers? after ' "$output"
contains "status shows the kill" 'killed' "$("$pointsman" status)"
contains "without a token nothing acts over TCP" 'token' "$("$pointsman" revive --variant app:canary --reason 'fixed' 2>&1)"
output=$(cd "$scratch" && unset POINTSMAN_ADMIN && "$pointsman" revive --variant app:canary --reason 'fixed')
contains "revive lifts it" '^revived variant app:canary: in force' "$output"
contains "the journal has both" 'revive variant app:canary: fixed' "$("$pointsman" journal)"
contains "a token has 256 bits" '^pm_[0-9a-f]{64}$' "$("$pointsman" token new ana --role operator 2>/dev/null)"

# On a terminal --watch overwrites its last frame, no line is too wide, and Ctrl-C ends it with 0.
python3 "$here/terminal.py" "$pointsman" status --watch 100ms || fail "status --watch on a terminal"
passed=$((passed + 1))
export POINTSMAN_ADMIN=127.0.0.1:1
code=0
output=$("$pointsman" status 2>&1) || code=$?
equal "without a proxy the exit code is 1" 1 "$code"
contains "without a proxy there is advice" 'POINTSMAN_ADMIN' "$output"
code=0
output=$("$pointsman" rollback shop:canary 2>&1) || code=$?
equal "a command of other proxies is wrong usage" 64 "$code"
contains "a command of other proxies: advice" 'pointsman kill --variant' "$output"
