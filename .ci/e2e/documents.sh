#!/usr/bin/env bash
# The documents about releases, followed step by step as a reader does (documents.py): training and the rehearsal with the demo,
# the runbook and the policy with a proxy under load whose rollout is the `checkout-v2` of these pages. Each command runs, each
# prints what the page shows, and each `pointsman …` in the text exists.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
docs=$(cd "$here/../../docs" && pwd)

# follow FOLDER PAGE [PORTS]: in a shell of its own, which becomes the reader.
follow() {
  mkdir -p "$1"
  exec timeout 170 python3 "$here/documents.py" "$pointsman" "$1" "${3:-}" "$2" >"$1/.steps" 2>"$1/.log"
}
# followed FOLDER: counts the steps, or fails.
followed() {
  cat "$1/.log"
  passed=$((passed + $(<"$1/.steps")))
}

# ---- pages that are wrong are found
wrong() {
  printf '%s\n' "${@:2}" '' >"$scratch/wrong.md"
  if (follow "$scratch/wrong" "$scratch/wrong.md"); then fail "a page with $1 passes"; fi
  passed=$((passed + 1))
}
wrong "a command that fails" '```console' '$ pointsman check missing.toml' '```'
wrong "another output" '```console' '$ echo 7 of 8 >out; cat out >&2 # >once' '7 of nine' '```'
wrong "a script that fails" '```sh' 'false' '```'
wrong "a block without a language" '```' 'pointsman run' '```'
wrong "a command that does not exist" 'Run `pointsman rolout ls` then.'
wrong "an option that does not exist" 'Run `pointsman rollout ls --al` then.'
wrong "a key without a demo" 'Press `f` now.'
wrong "a row that does nothing" '| command | it worked when |' '|---|---|' '| wait | look |'

# Pages without blocks: the files of the first run in pipelines.sh. Their commands exist.
for page in ../deploy/ci/README from-argo-rollouts-and-flagger; do
  (follow "$scratch/tables" "$docs/$page.md") || fail "$(<"$scratch/tables/.log")"
done

follow "$scratch/training" "$docs/training.md" &
pids+=($!)
training=$!

# ---- a proxy with checkout-v2
start_echo stable
start_echo canary
write_routes <<TOML
[identity]
user = ["cookie:uid"]

[[route]]
name   = "checkout"
match  = { path = "/*" }
stable = "v1"
sticky = ["user", "client_ip"]
canary = { upstream = "v2", rollout = "checkout-v2" }

[rollout.checkout-v2]
owner     = "team-payments"
ticket    = "CHG-4711"
approvers = { tech-lead = ["ana"] }
rehearsal = true

[[rollout.checkout-v2.stage]]
name         = "internal"
weight       = 5
min_duration = "4s"
min_requests = 20
[[rollout.checkout-v2.stage]]
name         = "beta"
weight       = 25
min_duration = "1s"
min_requests = 20
approve      = ["tech-lead"]
[[rollout.checkout-v2.stage]]
name         = "full"
weight       = 100
min_duration = "2m"
min_requests = 20
TOML
sed -i "s|^\[upstream.v2\]|&\nrevision = \"2026-11-30.1\"|; s|^address = \"127.0.0.1:$admin_port\"|&\ntokens = \"tokens.toml\"|" "$scratch/routes.toml"
"$pointsman" token new ana --role approver:tech-lead --role viewer --json >"$scratch/minted"
(umask 077 && json "it['token']" <"$scratch/minted" >"$scratch/ana.token")
json "it['toml']" <"$scratch/minted" >"$scratch/tokens.toml"
start_proxy
start_load --failing
export CANARY=http://127.0.0.1:$canary_port
ports=8080=$port,9900=$admin_port
cp "$scratch/routes.toml" "$scratch/first.toml"
(follow "$scratch" "$docs/rollout-runbook.md" "$ports") || fail "$(<"$scratch/.log")"
followed "$scratch"
(follow "$scratch" "$docs/release-policy.md" "$ports") || fail "$(<"$scratch/.log")"
followed "$scratch"
mkdir -p "$scratch/docs/rollouts"
asks() { (cd "$scratch" && "$pointsman" rollout show checkout-v2 --json) | json "it.get('doing')"; }
eventually "it asks for an approval" awaiting_approval asks
(follow "$scratch" "$docs/rollouts.md" "$ports") || fail "$(<"$scratch/.log")"
followed "$scratch"
(follow "$scratch" "$docs/rollback-rehearsal.md" "$ports") || fail "$(<"$scratch/.log")"
followed "$scratch"
end_load 0
no_request "a request that failed, other than by the canary's fault" 'refused|cut|late|wrong|5.*'

wait "$training" || fail "$(<"$scratch/training/.log")"
followed "$scratch/training"
