#!/usr/bin/env bash
# deploy/ci/: the pipelines of GitHub Actions and GitLab are valid by the published schemas, and each of their commands runs against
# a proxy under load, with tokens: a release that completes, one that a guard rolls back, one that a person holds, one that is not
# in time, one whose own tests fail, and one whose file is invalid. Then the example of several services: a fault of one takes all
# three back, with one proxy and with a proxy for each.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
deploy=$(cd "$here/../../deploy" && pwd)
python_packages pipelines check_jsonschema,yaml check-jsonschema==0.39.0 PyYAML
export PATH=$scratch/bin:$PATH

echo "-- schemas"
schema() { python3 -m check_jsonschema --builtin-schema "vendor.$1" "$2" >"$scratch/schema.log" 2>&1; }
schema github-workflows "$deploy/ci/github-actions.yml" || fail "github-actions.yml: $(<"$scratch/schema.log")"
schema gitlab-ci "$deploy/ci/gitlab-ci.yml" || fail "gitlab-ci.yml: $(<"$scratch/schema.log")"
sed 's/^  check:/  check:\n    runs_on: x/' "$deploy/ci/github-actions.yml" >"$scratch/wrong.yml"
if schema github-workflows "$scratch/wrong.yml"; then fail "a job with an unknown key is accepted"; fi
sed 's/^  script:/  scripts:/' "$deploy/ci/gitlab-ci.yml" >"$scratch/wrong.yml"
if schema gitlab-ci "$scratch/wrong.yml"; then fail "a job without a script is accepted"; fi
passed=$((passed + 4))

# ---- a proxy, whose file is copied by ssh
start_echo stable
start_echo canary
start_service gates gates.py
mkdir "$scratch/bin" "$scratch/repo" "$scratch/edge" "$scratch/tokens"
cp -r "$deploy" "$scratch/repo/deploy"
ln -s "$pointsman" "$scratch/bin/pointsman"
cat >"$scratch/bin/scp" <<SH
#!/bin/sh
exec cp "\$1" "\$(echo "\${2#*:}" | sed 's|^/etc/pointsman|$scratch/edge|')"
SH
cat >"$scratch/bin/ssh" <<SH
#!/bin/sh
shift
exec \$(echo "\$@" | sed 's|/etc/pointsman|$scratch/edge|g')
SH
chmod +x "$scratch/bin/scp" "$scratch/bin/ssh"
: >"$scratch/tokens.toml"
# mint NAME ROLE…: a token; its line goes to the file.
mint() {
  local name=$1 roles=() role
  shift
  for role in "$@"; do roles+=(--role "$role"); done
  "$pointsman" token new "$name" "${roles[@]}" --json >"$scratch/minted"
  json "it['toml']" <"$scratch/minted" >>"$scratch/tokens.toml"
  json "it['token']" <"$scratch/minted" >"$scratch/tokens/$name"
}
mint pipeline operator viewer
mint tech-lead-job approver:tech-lead viewer
mint reader viewer
POINTSMAN_TOKEN=$(<"$scratch/tokens/pipeline")
VIEWER_TOKEN=$(<"$scratch/tokens/reader")
export POINTSMAN_TOKEN VIEWER_TOKEN
write_routes <<TOML
[state]
dir = "$scratch/state"

[identity]
user = ["cookie:uid"]

[[route]]
name   = "checkout"
match  = { path = "/*" }
stable = "v1"
sticky = ["user", "client_ip"]
canary = { upstream = "v2", rollout = "checkout-v2" }
[[route.target]]
header = { x-canary = "always" }
serve  = "canary"

[rollout.checkout-v2]
approvers = { tech-lead = ["tech-lead-job"] }
[[rollout.checkout-v2.stage]]
name         = "internal"
weight       = 5
min_requests = 20
[[rollout.checkout-v2.stage.gate]]
webhook = { url = "http://127.0.0.1:$gates_port/gate", every = "1s" }
[[rollout.checkout-v2.stage]]
name         = "beta"
weight       = 25
min_requests = 20
approve      = ["tech-lead"]
[[rollout.checkout-v2.stage]]
name         = "full"
weight       = 100
min_requests = 20
TOML
sed -i "s|^address = \"127.0.0.1:$admin_port\"|&\ntokens = \"$scratch/tokens.toml\"|" "$scratch/routes.toml"
# revised REVISION: the edit that is released.
revised() { sed "s|^\[upstream.v2\]|&\nrevision = \"$1\"|" "$scratch/routes.toml" >"$scratch/repo/routes.toml"; }
revised 1.0
cp "$scratch/repo/routes.toml" "$scratch/edge/routes.toml"
git init -q --bare "$scratch/origin.git"
git -C "$scratch/repo" init -q -b main
git -C "$scratch/repo" add routes.toml
git -C "$scratch/repo" -c user.name=ana -c user.email=ana@example.com commit -qm first
git -C "$scratch/repo" remote add origin "$scratch/origin.git"
git -C "$scratch/repo" push -q origin main
start_proxy run edge/routes.toml --workers 1
start_load --failing

export POINTSMAN_ADMIN=http://127.0.0.1:$admin_port SHOP=http://127.0.0.1:$port TECH_LEAD_TOKEN POLL=0.1
TECH_LEAD_TOKEN=$(<"$scratch/tokens/tech-lead-job")
export BETA_LIMIT=30s COMPLETE_LIMIT=30s GITHUB_STEP_SUMMARY=$scratch/summary GITHUB_RUN_ID=7 GITHUB_ACTOR=ana GITHUB_ACTIONS=true
export CI_PIPELINE_ID=7 GITLAB_USER_LOGIN=ana CI_DEFAULT_BRANCH=main APPROVE_LIMIT=30
gate() { curl -sS -o /dev/null "http://127.0.0.1:$gates_port/set/webhook/$1"; }
fault="curl -sS -o /dev/null http://127.0.0.1:$canary_port/fails"
state() { "$pointsman" rollout show checkout-v2 --json | json "it['state']"; }
# pipeline FILE push|pull OPTIONS…: the result of each job, in one line.
pipeline() {
  timeout 900 python3 "$here/pipelines.py" "$deploy/ci/$1" "$scratch/repo" "${@:2}" 2>"$scratch/jobs.log" | paste -sd ' ' ||
    fail "$1: $(tail -n 20 "$scratch/jobs.log")"
}
# A rehearsal takes the rate and the callers that the proxy has measured: with few callers it plays for long.
measures() {
  "$pointsman" rollout show checkout-v2 --json |
    json "all(one['rate'] is not None and (one['callers'] or 0) >= 300 for one in it['traffic'])"
}
released() { "$pointsman" rollout show checkout-v2 --json | json "it['revision']"; }
ended() { "$pointsman" rollout show checkout-v2 --json | json "it['weight']"; }

eventually "the proxy has counted callers" True measures
number=1
for file in github-actions.yml gitlab-ci.yml; do
  echo "-- $file"
  next() { revised $((number += 1)); }
  next
  gate pass
  before=$(released)
  equal "a request to merge" "check success 0 deploy skipped - beta skipped - test skipped - approve skipped - complete skipped - rollback skipped -" \
    "$(pipeline "$file" pull)"
  equal "it changes nothing" "$before" "$(released)"
  equal "a release" "check success 0 deploy success 0 beta success 0 test success 0 approve success 0 complete success 0 rollback skipped -" \
    "$(pipeline "$file" push)"
  equal "it is complete" complete "$(state)"
  contains "who approved" 'tech-lead-job' "$("$pointsman" journal --rollout checkout-v2 --limit 20)"
  approve() { (cd "$scratch" && APPROVE_LIMIT=1 sh "$deploy/ci/approve.sh" checkout-v2 "$1" tech-lead "a test"); }
  contains "a job that is run again" 'past the stage beta: nothing to approve' "$(approve beta)"

  next
  gate block
  equal "a release that a guard rolls back" \
    "check success 0 deploy success 0 beta failure 2 test skipped - approve skipped - complete skipped - rollback skipped -" \
    "$(pipeline "$file" push --event beta "$fault/100")"
  equal "callers have stable" rolled_back "$(state)"
  $fault/0

  next
  equal "a release that a person holds" \
    "check success 0 deploy success 0 beta failure 3 test skipped - approve skipped - complete skipped - rollback skipped -" \
    "$(pipeline "$file" push --event beta "pointsman rollout wait checkout-v2 --until internal --timeout 20s &&
      pointsman rollout hold checkout-v2 --reason 'a look' --yes")"
  equal "it stays held" "held 5.0" "$(state) $(ended)"

  next
  "$pointsman" rollout resume checkout-v2 --reason "seen" --yes >/dev/null
  equal "a release that is not in time" \
    "check success 0 deploy success 0 beta failure 4 test skipped - approve skipped - complete skipped - rollback skipped -" \
    "$(BETA_LIMIT=2s pipeline "$file" push)"
  equal "it is held" held "$(state)"
  equal "a held rollout asks for nothing" 2 "$(approve beta >/dev/null; echo $?)"
  contains "why" 'the pipeline waited for beta' "$("$pointsman" rollout show checkout-v2)"

  next
  "$pointsman" rollout resume checkout-v2 --reason "seen" --yes >/dev/null
  equal "a stage that asks for nothing" 4 "$(approve beta >"$scratch/approve.log"; echo $?)"
  contains "a stage that is not there" 'has no stage few' "$(approve few || true)"
  gate pass
  equal "a release whose own tests fail" \
    "check success 0 deploy success 0 beta success 0 test failure 7 approve skipped - complete skipped - rollback success 0" \
    "$(pipeline "$file" push --set test SHOP=http://127.0.0.1:1)"
  equal "it is rolled back by the pipeline" rolled_back "$(state)"

  next
  equal "an approver who is late" \
    "check success 0 deploy success 0 beta success 0 test success 0 approve failure 2 complete skipped - rollback skipped -" \
    "$(pipeline "$file" push --event approve "pointsman rollout rollback checkout-v2 --reason 'not today' --yes")"

  next
  echo 'nmae = "typo"' >>"$scratch/repo/routes.toml"
  contains "a file with a mistake" '^check failure 78 deploy skipped' "$(pipeline "$file" push)"
  passed=$((passed + $(python3 "$here/pipelines.py" "$deploy/ci/$file" "$scratch/repo" ran)))
  rm "$scratch/repo/.ran"
done
end_load 0
stop_proxy

echo "-- several services, one proxy"
unset POINTSMAN_TOKEN POINTSMAN_ADMIN
export NO_COLOR=1
services=(cart_old cart_new checkout_old checkout_new search_old search_new)
for name in "${services[@]}"; do start_echo "$name"; done
port_of() { local name=${1}_port; echo "${!name}"; }
# example FILE EDIT…: the example with the ports of this machine and short stages, edited by sed.
free_ports port admin_port other_port other_admin_port
example() {
  local file=$1 edits=() line at=8101 name
  shift
  for line in "$@"; do edits+=(-e "$line"); done
  for name in "${services[@]}"; do edits+=(-e "s|127.0.0.1:$((at++))|127.0.0.1:$(port_of "$name")|"); done
  sed -e 's|/var/lib/pointsman|state|' -e 's/= "30m"$/= "1s"/; s/= "\(1h\|4h\|24h\)"$/= "40s"/; s/^min_requests = .*/min_requests = 50/; s/every = "30s"/every = "1s"/' \
    -e "s/127.0.0.1:8090/127.0.0.1:$gates_port/; s/127.0.0.1:9090/127.0.0.1:$gates_port/" "${edits[@]}" \
    "$deploy/examples/several-services.toml" >"$file"
  printf '[access_log]\nsink = "off"\n' >>"$file"
}
example "$scratch/routes.toml" "s/127.0.0.1:8080/127.0.0.1:$port/; s/127.0.0.1:9900/127.0.0.1:$admin_port/"
rm -rf "$scratch/state"
curl -sS -o /dev/null "http://127.0.0.1:$gates_port/set/value/0"
gate block
start_proxy
start_load --failing --gets --paths cart,checkout,search --names "$(IFS=,; echo "${services[*]}")"
in_scratch() { (cd "$scratch" && "$pointsman" "$@"); }
of() { in_scratch rollout show "$1" --json | json "(it['state'], it['stage'], it['weight'])"; }
eventually "the shop waits for its webhook" "('running', 'internal', 5.0)" of shop-2
equal "search waits for the shop" "('pending', 'few', 0.0)" "$(of search-2)"
gate pass
in_scratch rollout wait shop-2 --until beta --timeout 20s >/dev/null || fail "the shop does not reach beta"
eventually "search begins when the shop is in beta" "10.0" eval "in_scratch rollout show search-2 --json | json \"it['weight']\""
# A caller has the new cart and the new checkout, or neither: by the load's callers, below.
gate block
together=$(now_ms)
sleep 1
failing=$(now_ms)
curl -sS -o /dev/null "http://127.0.0.1:$(port_of checkout_new)/fails/100"
eventually "a fault of checkout takes the shop back" "('rolled_back', 'beta', 0.0)" of shop-2
eventually "search falls with it" "('held', 'few', 0.0)" of search-2
back=$(now_ms)
contains "the state names the route" 'checkout' "$(in_scratch rollout show shop-2)"
contains "search says what it needs" 'requires' "$(in_scratch rollout show search-2)"
sleep 1
end_load 0
equal "requests on new versions after that" 0 "$(load_rows 'ok|failed' "$((back + 1))" 9e15 | grep -c '_new' || true)"
last=$(load_rows 'ok|failed' "$failing" "$((back + 1))" | grep '_new' | cut -f1 | sort -n | tail -n 1)
within "milliseconds from the fault to the last request on a new version" 1 5000 "$((last - failing))"
echo "   from the fault in one service to the last request on any of the three new versions: $((last - failing)) ms"

echo "-- several services, a proxy for each"
stop_proxy
curl -sS -o /dev/null "http://127.0.0.1:$(port_of checkout_new)/fails/0"
gate pass
# Two proxies, each with the rollout of its own services; the pipeline is what they have in common.
mkdir "$scratch/one" "$scratch/two"
example "$scratch/one/routes.toml" "s/127.0.0.1:8080/127.0.0.1:$port/; s/127.0.0.1:9900/127.0.0.1:$admin_port/" \
  's/canary = { upstream = "search-v2".*/# &/; /^\[rollout.search-2\]/,$d'
example "$scratch/two/routes.toml" "s/127.0.0.1:8080/127.0.0.1:$other_port/; s/127.0.0.1:9900/127.0.0.1:$other_admin_port/" \
  's/canary = { upstream = "[a-z]*-v2", rollout = "shop-2".*/# &/; /^\[rollout.shop-2\]/,/^\[rollout.search-2\]/{/^\[rollout.search-2\]/!d}' \
  '/^requires/d'
start_proxy run one/routes.toml --workers 1
first=$proxy_pid
(cd "$scratch" && exec "$pointsman" run two/routes.toml --workers 1) >"$scratch/two.log" 2>&1 </dev/null &
pids+=($!)
second_ready() { status "http://127.0.0.1:$other_admin_port/readyz"; }
eventually "the second proxy is ready" 200 second_ready
start_load --failing --gets --rate 250 --paths cart,checkout --names "$(IFS=,; echo "${services[*]}")"
python3 "$here/open_loop.py" "$other_port" "$scratch/other" --failing --gets --rate 150 --paths search --names "$(IFS=,; echo "${services[*]}")" &
other=$!
pids+=("$other")
sockets=(shop-2@unix:"$scratch/one/state/run/admin.sock" search-2@unix:"$scratch/two/state/run/admin.sock")
"$pointsman" rollout wait shop-2 --admin "${sockets[0]#*@}" --until beta --timeout 20s >/dev/null || fail "the shop does not reach beta"
code=0
bash "$deploy/ci/several-proxies.sh" complete 1s "${sockets[@]}" >"$scratch/late.log" 2>&1 || code=$?
equal "what is late ends with" 4 "$code"
for one in "${sockets[@]}"; do
  contains "all are held, the late one too" 'held' "$("$pointsman" rollout show "${one%%@*}" --admin "${one#*@}" | head -n 1)"
  "$pointsman" rollout resume "${one%%@*}" --admin "${one#*@}" --reason "the test goes on" --yes >/dev/null
done
code=0
bash "$deploy/ci/several-proxies.sh" complete 60s "${sockets[@]}" >"$scratch/together.log" 2>&1 &
together=$!
waits() { grep -c . "$scratch/together.log"; }
eventually "the pipeline waits for both" 2 waits
failing=$(now_ms)
curl -sS -o /dev/null "http://127.0.0.1:$(port_of cart_new)/fails/100"
wait "$together" || code=$?
equal "the pipeline ends with the code of the one that failed" 2 "$code"
took=$(($(now_ms) - failing))
"$pointsman" rollout show search-2 --admin "${sockets[1]#*@}" >"$scratch/shown"
contains "the other one is rolled back, and why" 'released together with shop-2, which ended with 2' "$(<"$scratch/shown")"
contains "it is rolled back" 'rolled back' "$(head -n 1 "$scratch/shown")"
within "milliseconds from the fault to the rollback of the other proxy" 1 8000 "$took"
echo "   from the fault behind one proxy to the rollback at the other: $took ms"
kill -TERM "$other"
end_load 0
