#!/usr/bin/env bash
# A rollout goes through its stages under 500 requests a second: a webhook and a Prometheus hold it back whatever they answer but
# a pass, people approve with tokens of their roles, and no request fails. SIGKILL at any moment, a hand-over and a reload in
# the middle of a ramp never serve more than the last record allows. A canary that fails is rolled back within a second and a
# half, and stays there. On a full disk nothing rises. The commands say what stands in the way, and `rollout wait` ends with the
# exit code of what happened. The journal decides everything again.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
real=$pointsman
start_echo stable
start_echo canary
start_service gates gates.py

# act COMMAND…: the command finds the proxy by the socket below the current folder.
act() {
  (cd "$scratch" && timeout 60 "$real" "$@" </dev/null)
}
# code COMMAND…: its exit code.
code() {
  local code=0
  act "$@" >"$scratch/out" 2>&1 || code=$?
  echo "$code"
}
said() { tr -s '\n ' ' ' <"$scratch/out"; }
gate() { curl -sS -o /dev/null "http://127.0.0.1:$gates_port/set/$1/$2"; }
mood() {
  local service_port=${1}_port
  equal "the mood of $1" 200 "$(status "http://127.0.0.1:${!service_port}/fails/$2")"
}
shown() { admin "/v1/rollouts/next"; }
state() { shown | json "it['state']"; }
stage() { shown | json "it['stage']"; }
held_at() { shown | json "(it['state'], it['weight'])"; }
doing() { shown | json "it['doing']"; }
blocks() { shown | json "' '.join(block['kind'] for block in it['blocks'])"; }
# weight: the weight that is set, in hundredths of a percent.
weight() { shown | json "round(it['weight'] * 100)"; }
blocked_by() { case " $(blocks) " in *" $1 "*) echo yes ;; esac; }
on_canary() { load_rows 'ok|failed' "$1" "$2" canary | wc -l; }
after() { echo $(($(now_ms) + 1)); }

# write_plan REVISION [STAGES] [LINES]: a route whose canary follows a rollout with these stages.
stages_short='[[rollout.next.stage]]
name = "dark"
weight = 0
min_duration = "1s"
[[rollout.next.stage]]
name = "few"
weight = 5
min_duration = "1s"
min_requests = 20
[[rollout.next.stage.gate]]
webhook = { url = "http://127.0.0.1:GATES/gate", every = "1s", timeout = "2s" }
[[rollout.next.stage.gate]]
prometheus = { query = "sum(failures)", max = 10, every = "1s" }
[[rollout.next.stage]]
name = "half"
weight = 50
approve = ["lead", "product"]
[[rollout.next.stage]]
name = "most"
weight = 90
ramp = "20s"
[[rollout.next.stage]]
name = "all"
weight = 100
min_duration = "1s"'
write_plan() {
  write_split 0 "$sticky_by_cookie
[prometheus]
url = \"http://127.0.0.1:$gates_port\"
[rollout.next]
approvers = { lead = [\"ana\"], product = [\"dee\"] }
${3:-}
${2:-$stages_short}"
  sed -i "s|^\[upstream.v2\]|&\nrevision = \"$1\"|; s|canary = { upstream = \"v2\", weight = 0 }|canary = { upstream = \"v2\", rollout = \"next\" }|
    s|GATES|$gates_port|" "$scratch/routes.toml"
  sed -i "s|^address = \"127.0.0.1:$admin_port\"|&\ntokens = \"tokens.toml\"|" "$scratch/routes.toml"
}

# mint NAME ROLE…: a token; its line goes to the file, the token to NAME.token.
mint() {
  local name=$1 roles=() role
  shift
  for role in "$@"; do roles+=(--role "$role"); done
  act token new "$name" "${roles[@]}" --json >"$scratch/minted" || fail "token new: $(<"$scratch/minted")"
  json "it['token']" <"$scratch/minted" >"$scratch/$name.token"
  json "it['toml']" <"$scratch/minted" >>"$scratch/tokens.toml"
}
as() {
  local name=$1
  shift
  act "$@" --admin "http://127.0.0.1:$admin_port" --token-file "$name.token"
}
as_code() {
  local code=0
  as "$@" >"$scratch/out" 2>&1 || code=$?
  echo "$code"
}
admin() {
  curl -sS --max-time 30 -H "Authorization: Bearer $(<"$scratch/reader.token")" "${@:2}" "http://127.0.0.1:$admin_port$1"
}
: >"$scratch/tokens.toml"
mint reader viewer
mint olaf operator viewer
mint ana approver:lead viewer
mint dee approver:product viewer
mint eve approver:lead viewer

write_plan 1.0
checked=$(act check routes.toml 2>&1) || fail "the file is not valid: $checked"
start_proxy
equal "the commands find the proxy" 0 "$(code rollout ls)"
start_load --failing

# ---- gates: whatever they answer but a pass holds it back
eventually "it is in the second stage" few stage
eventually "the webhook blocks" yes blocked_by webhook
for answer in hang redirect '%7B%7D' 'not%20JSON' '%7B%22pass%22%3A%22yes%22%7D' block; do
  gate webhook "$answer"
  sleep 1.2
  equal "a webhook that answers $answer" few "$(stage)"
done
# The value is bad before the webhook passes: else both pass for a moment.
gate value NaN
eventually "both hold it" "webhook prometheus" blocks
gate webhook pass
for value in NaN none two 11; do
  gate value "$value"
  sleep 1.2
  equal "a Prometheus that answers $value" few "$(stage)"
done
equal "what is in its way" prometheus "$(blocks)"
gate webhook block
eventually "both block" "webhook prometheus" blocks
gate value 3
eventually "a webhook that blocks again" webhook blocks
contains "the commands say what" 'pipeline says block' "$(act rollout show next)"
act rollout show next | sed -n '1,12s/^/   /p'
gate webhook pass
equal "waiting for the next stage" 0 "$(code rollout wait next --until half --timeout 20s)"

# ---- approvals
eventually "approvers are asked" awaiting_approval doing
contains "the list says who may" 'ana' "$(act rollout show next)"
equal "an operator cannot approve" 2 "$(as_code olaf rollout approve next --as lead)"
equal "a token of the role without the name cannot" 2 "$(as_code eve rollout approve next --as lead)"
equal "a name of another role cannot" 2 "$(as_code dee rollout approve next --as lead)"
equal "one may" 0 "$(as_code ana rollout approve next --as lead)"
equal "once" 2 "$(as_code ana rollout approve next --as lead)"
equal "it still waits" half "$(stage)"
equal "waiting for too long" 4 "$(code rollout wait next --until most --timeout 1s)"
equal "the other one may" 0 "$(as_code dee rollout approve next --as product)"
eventually "the ramp begins" most stage

# ---- SIGKILL, a hand-over and reloads in the middle of a ramp
lowest=$(weight)
highest=$lowest
for n in 1 2 3 4; do
  sleep "0.$((RANDOM % 9 + 1))"
  highest=$(weight)
  kill_now "$proxy_pid"
  start_proxy
  now=$(weight)
  within "the weight after SIGKILL $n, in hundredths of a percent" 5000 $((highest + 600)) "$now"
  equal "the stage after SIGKILL $n" most "$(stage)"
done
echo "# a reload" >>"$scratch/routes.toml"
equal "a reload in the middle" 0 "$(code reload)"
equal "the stage after a reload" most "$(stage)"
within "the weight after a reload" 5000 9000 "$(weight)"
before=$proxy_pid highest=$(weight)
kill -USR2 "$before"
handed_over() { [ "$(admin /status | json 'it["pid"]')" != "$before" ] && echo yes; }
eventually "another process serves" yes handed_over
proxy_pid=$(admin /status | json 'it["pid"]')
pids+=("$proxy_pid")
within "the weight after a hand-over" 5000 9000 "$(weight)"
equal "holding it" 0 "$(as_code olaf rollout hold next --reason "a look" --yes)"
stands=$(weight)
sleep 1.5
equal "a hold keeps the weight" "$stands" "$(weight)"
equal "waiting for a rollout that is held" 3 "$(code rollout wait next --until all --timeout 20s)"
equal "resuming it" 0 "$(as_code olaf rollout resume next --reason "seen" --yes)"
equal "waiting for the end" 0 "$(code rollout wait next --until complete --timeout 60s)"
contains "a complete rollout names the edit" 'stable.*v2' "$(act rollout show next)"
complete=$(after)
sleep 0.5
end_load 0
equal "requests on stable when it is complete" 0 "$(load_rows ok "$complete" "$(now_ms)" stable | wc -l)"

# ---- a canary that fails
write_plan 2.0 "${stages_short//\"20s\"/\"2s\"}"
start_load --failing
equal "a new revision begins at the first stage" 0 "$(code reload)"
eventually "it is in the second stage again" few stage
sleep 1.5
equal "a move up that does not pass" 2 "$(as_code olaf rollout goto next most --reason "quick" --yes)"
failing=$(now_ms)
mood canary 100
eventually "it is rolled back" rolled_back state
latched=$(after)
mood canary 0
equal "waiting for what is rolled back" 2 "$(code rollout wait next --until all --timeout 20s)"
crash=$(now_ms)
kill_now "$proxy_pid"
end_load 0
last=$(load_rows failed "$failing" "$latched" canary | cut -f1 | sort -n | tail -n 1)
within "milliseconds from the fault to the last request on the canary" 1 2500 $((last - failing))
equal "requests on the canary after the rollback" 0 "$(on_canary "$latched" "$crash")"
start_proxy
equal "after a new start" rolled_back "$(state)"
verified=$(act journal --verify) || fail "the chain of the journal: $verified"
replayed=$(act journal --replay) || fail "a decision does not follow from its record: $replayed"
echo "$replayed" | tail -n 3 | sed 's/^/   /'
equal "resuming it" 0 "$(as_code olaf rollout resume next --reason "it is repaired" --yes)"
eventually "it goes on" half stage

# ---- kills
equal "a kill of the rollout" 0 "$(code kill --rollout next --reason "a drill" --yes)"
eventually "it is killed" killed state
equal "its end" 0 "$(code revive --rollout next --reason "over" --yes)"
eventually "it is held at 0" "('held', 0.0)" held_at
equal "a person resumes it" 0 "$(as_code olaf rollout resume next --reason "over" --yes)"
eventually "it has its weight" 5000 weight
equal "going back" 0 "$(as_code olaf rollout goto next few --reason "too early" --yes)"
equal "at once" 500 "$(weight)"
equal "beginning anew" 0 "$(as_code olaf rollout restart next --reason "again" --yes)"
eventually "it is on its way again" few stage
equal "rolling it back" 0 "$(as_code olaf rollout rollback next --reason "enough" --yes)"
equal "at once" rolled_back "$(state)"
contains "metrics" 'pointsman_rollout_state\{.*rolled_back.*\} 1' "$(admin /metrics)"
contains "the status" 'next' "$(act status)"
kill -TERM "$proxy_pid"
gone() { [ ! -S "$scratch/state/run/admin.sock" ] && echo yes; }
eventually "the proxy ends" yes gone

# ---- a full disk: nothing rises
disk=$scratch/disk
mkdir "$disk"
if mount -t tmpfs -o size=256k tmpfs "$disk" 2>/dev/null; then
  undo_first+=("umount -l '$disk'")
else
  not_checked "a full disk: this user may not mount one"
  exit 0
fi
rm -rf "$scratch/state"
gate webhook block
write_plan 3.0
printf '[state]\ndir = "%s"\n' "$disk/state" >>"$scratch/routes.toml"
start_proxy
start_load --failing
eventually "it is in the second stage" few stage
dd if=/dev/zero of="$disk/filler" bs=4k 2>/dev/null || true
gate webhook pass
eventually "the journal is in the way" yes blocked_by journal
sleep 1
equal "nothing rises on a full disk" few "$(stage)"
rm "$disk/filler"
eventually "it goes on when there is space" half stage
end_load 0
no_request "a failure that is not the canary's" '[^of].*'
