#!/usr/bin/env bash
# The dashboard in a real Chromium. Every page in both themes and from 360 px to a wall screen: no error in the console, no request
# to another origin, nothing serious by axe-core. A kill by keyboard alone, approvals by role, 409 for a view that is old, a
# session that ends, links for one use, answers that are lost; live updates that move no row under the pointer, a stream that is
# cut, clocks that are off; hostile texts and addresses.
# With 2,000 routes and 200 rollouts the pages are built in time, and the pictures of the documentation can be taken.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")

# chromium, node and npm: installed where this user may.
for pair in chromium:chromium node:nodejs npm:npm; do
  command -v "${pair%%:*}" >/dev/null && continue
  [ "${pair%%:*}" = chromium ] && command -v chromium-browser google-chrome >/dev/null && continue
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq --no-install-recommends "${pair##*:}"; } \
    >"$scratch/apt.log" 2>&1 ||
    fail "${pair%%:*} is missing, and the package ${pair##*:} cannot be installed: $(tail -n 3 "$scratch/apt.log")"
done
need node npm
CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || fail "chromium is missing"
NODE_FOLDER=${target:-$here/../../target}/ci-tools/dashboard
mkdir -p "$NODE_FOLDER"
NODE_FOLDER=$(realpath "$NODE_FOLDER")
for package in playwright-core@1.65.1 axe-core@4.14.1; do
  [ -f "$NODE_FOLDER/node_modules/${package%@*}/package.json" ] && continue
  output=$(npm_install "$NODE_FOLDER" playwright-core@1.65.1 axe-core@4.14.1) || fail "$package cannot be installed: $output"
done
export CHROMIUM NODE_FOLDER

# node_checks WHAT SCRIPT ARGUMENTS…: the script prints how many checks passed.
node_checks() {
  local checks code=0
  checks=$(ADMIN=http://127.0.0.1:$admin_port timeout 240 node "$here/dashboard/$2" "${@:3}" 2>"$scratch/node.log") || code=$?
  cat "$scratch/node.log"
  [ "$code" -eq 0 ] || fail "$1: ended with $code"
  passed=$((passed + checks))
}

sha256() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }
# token NAME ROLES: the secret is the name.
token() {
  printf '[[token]]\nname = "%s"\nroles = [%s]\nsha256 = "%s"\n' "$1" "$2" "$(sha256 "$1")"
}
{
  token olga '"operator", "viewer"'
  token vera '"viewer"'
  token ana '"approver:lead", "viewer"'
  token dee '"approver:product", "viewer"'
} >"$scratch/tokens.toml"

start_echo stable
start_echo canary
start_service one dashboard/hostile.py one
start_service two dashboard/hostile.py two

write_routes <<TOML
[upstream.one]
endpoints = ["http://127.0.0.1:$one_port"]
[upstream.two]
endpoints = ["http://127.0.0.1:$two_port"]
[identity]
user = ["cookie:uid"]

[[route]]
name   = "shop"
match  = { path = "/shop/*" }
stable = "v1"
canary = { upstream = "v2", rollout = "next" }
sticky = ["user", "client_ip"]

[[route]]
name   = "cart"
match  = { path = "/cart/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
sticky = ["user", "client_ip"]
guard  = "rollback"

[[route]]
name   = "notes"
match  = { path = "/notes/*" }
stable = "one"
[route.shadow]
upstream = "two"
weight   = 100
methods  = ["GET"]
timeout  = "1s"
[route.shadow.compare]
control = 50
redact  = []

[rollout.next]
owner     = "<img src=x onerror=alert(1)>"
ticket    = "<b>SHOP-1</b>"
approvers = { lead = ["ana"], product = ["dee"] }
[[rollout.next.stage]]
name = "few"
weight = 20
min_duration = "2s"
min_requests = 20
approve = ["lead", "product"]
[[rollout.next.stage]]
name = "half"
weight = 50
min_duration = "1h"
[[rollout.next.stage]]
name = "all"
weight = 100
min_duration = "1h"
TOML
sed -i "s|^\[upstream.v2\]|&\nrevision = \"2.0\"|; s|^address = \"127.0.0.1:$admin_port\"|&\ntokens = \"tokens.toml\"|" "$scratch/routes.toml"
checked=$("$pointsman" check "$scratch/routes.toml" 2>&1) || fail "the file is not valid: $checked"

# ---- with tokens
admin() {
  curl -sS --max-time 30 -H 'Authorization: Bearer olga' "${@:2}" "http://127.0.0.1:$admin_port$1"
}
start_proxy
start_load --rate 150 --failing --paths shop,cart
curl -sS -o /dev/null "http://127.0.0.1:$port/notes/[0-99]"
awaited() { admin /v1/rollouts/next | json "','.join(sorted(one['role'] for one in it['awaited']))"; }
eventually "the stage asks for its approvals" lead,product awaited
pages=(/ /rollouts/next /rollouts/cart:canary /routes /routes/shop /routes/notes /upstreams /shadows /experiments /config /journal /kills)
node_checks "pages" pages.mjs olga "${pages[@]}"
node_checks "acts" acts.mjs "$scratch" "$pointsman"
node_checks "the script" script.mjs
node_checks "hostile texts" hostile.mjs

# ---- without tokens: reading is open
stop_proxy
sed -i '/^tokens = /d' "$scratch/routes.toml"
start_proxy
node_checks "live updates" live.mjs "$scratch" "$pointsman" "$canary_port" "$proxy_pid"
proxy_pid=$(<"$scratch/proxy.pid")
pids+=("$proxy_pid")
end_load
kill_now "$proxy_pid"

# ---- many routes
rm -rf "$scratch/state"
python3 - >"$scratch/many.toml" "$stable_port" "$port" "$admin_port" <<'PYTHON'
import sys
stable, port, admin = sys.argv[1:]
print(f'schema = 1\n[[listener]]\naddress = "127.0.0.1:{port}"\n[admin]\naddress = "127.0.0.1:{admin}"\n[access_log]\nsink = "off"')
print(f'[upstream.v1]\nendpoints = ["http://127.0.0.1:{stable}"]\n[upstream.v2]\nendpoints = ["http://127.0.0.1:{stable}"]\nrevision = "2"')
for at in range(2000):
    canary = f'rollout = "release-{at}"' if at < 200 else "weight = 10"
    print(f'[[route]]\nname = "route-{at}"\nmatch = {{ path = "/route-{at}/*" }}\nstable = "v1"\ncanary = {{ upstream = "v2", {canary} }}')
for at in range(200):
    print(f'[[rollout.release-{at}.stage]]\nname = "few"\nweight = 5\nmin_duration = "1h"\n[[rollout.release-{at}.stage]]\nname = "all"\nweight = 100')
PYTHON
admin() { curl -sS --max-time 30 "${@:2}" "http://127.0.0.1:$admin_port$1"; }
start_proxy run many.toml --workers 1
# built PATH: milliseconds to the first byte, the median of 5; a page is kept for a second.
built() {
  for _ in 1 2 3 4 5; do
    admin "$1" -H 'Accept: text/html' -o /dev/null -w '%{http_code} %{time_starttransfer}\n'
    sleep 1.1
  done | awk '$1 != 200 { print "status", $1; exit } { printf "%d\n", $2 * 1000 }' | sort -n | sed -n 3p
}
for path in / /routes; do
  took=$(built "$path")
  echo "   $path with 2,000 routes and 200 rollouts: $took ms, $(admin "$path" -H 'Accept: text/html' | wc -c) bytes"
  within "milliseconds for $path" 0 300 "$took"
done
node_checks "many rows" many.mjs / /routes
kill_now "$proxy_pid"

# ---- the pictures of the documentation
HISTORY_S=15 bash "$here/../../docs/pictures/dashboard.sh" "$pointsman" "$scratch/pictures" || fail "the pictures cannot be taken"
for name in overview-light overview-dark rollout-light; do
  for picture in "$scratch/pictures/$name.png" "$here/../../docs/pictures/$name.png"; do
    within "bytes of $picture" 10000 200000 "$(stat -c %s "$picture")"
  done
done

# ---- viewers
python3 "$here/../../bench/dashboard/viewers.py" --pointsman "$pointsman" --seconds 20 --out none || fail "the bench of viewers"
