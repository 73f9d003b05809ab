#!/usr/bin/env bash
# A canary that begins to fail at 500 requests a second is rolled back within a second and a half. The latch holds after
# SIGKILL and a new start, an edit of the weight and a hand-over; `rollout resume` and another revision end it. A canary that
# accepts no connections gets no requests until it is back. With a full disk a canary is rolled back, too. Status, explain, list
# and journal say by which evidence, and the journal decides the same again.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
real=$pointsman
start_echo stable
start_echo canary

# act COMMAND…: the command finds the proxy by the socket below the current folder.
act() {
  (cd "$scratch" && timeout 20 "$real" "$@" </dev/null)
}

# mood SERVICE PERCENT: so many of its responses fail from now on.
mood() {
  local service_port=${1}_port
  equal "the mood of $1" 200 "$(status "http://127.0.0.1:${!service_port}/fails/$2")"
}

# write_guarded WEIGHT REVISION [GUARD]: one route whose guards roll back, or do GUARD. A single endpoint is not ejected.
write_guarded() {
  write_split "$1" "guard = \"${3:-rollback}\"
$sticky_by_cookie"
  sed -i "s|^\[upstream.v2\]|&\nrevision = \"$2\"|" "$scratch/routes.toml"
}

release=all:canary
state() { admin "/v1/rollouts/$release" | json "it['state']"; }
cause() { admin "/v1/rollouts/$release" | json "(it['state'], it['because'])"; }
generation() { metric pointsman_config_generation; }
# on_canary FROM TO: how many requests that were sent in between the canary served, whatever it answered.
on_canary() { load_rows 'ok|failed' "$1" "$2" canary | wc -l; }
# rests WHAT FROM TO: none of them; SERVES: some.
rests() { equal "requests on the canary: $1" 0 "$(on_canary "$2" "$3")"; }
serves() { within "requests on the canary: $1" 5 100000 "$(on_canary "$2" "$3")"; }
# after: the first millisecond after what was just seen.
after() { echo $(($(now_ms) + 1)); }

write_guarded 10 2.0
start_proxy
start_load --failing
sleep 2
equal "a healthy canary" watching "$(state)"

# ---- it fails
failing=$(now_ms)
mood canary 100
eventually "it is rolled back" rolled_back state
latched=$(after)
mood canary 0
shown=$(act rollout show "$release")
echo "$shown" | sed -n '1,4s/^/   /p'
contains "the list of releases" "$release +rolled back" "$(act rollout ls)"
contains "a release says by which evidence" 'rolled back by .*[0-9]+ callers of [0-9]+' "$(tr -s '\n ' ' ' <<<"$shown")"
contains "a release says what ends it" 'rollout resume all:canary' "$(tr -s '\n ' ' ' <<<"$shown")"
contains "a release has all its guards" 'errors.*latency.*sample-ratio' "$(tr -s '\n ' ' ' <<<"$shown")"
contains "the status" 'all:canary' "$(act status)"
contains "the status says why" 'rolled back' "$(act status)"
explained=$(act explain --admin --cookie uid=u1)
contains "explain" 'rolled back|latch' "$explained"
contains "the journal" 'roll.*back.*all:canary' "$(act journal)"
contains "the log" '"(WARN|ERROR)".*all:canary' "$(<"$scratch/pointsman.log")"
within "guards that tripped, by the metric" 1 4 "$(metric_sum pointsman_guard_trips_total 'act="rollback"')"
equal "latches, by the metric" 1 "$(metric pointsman_latches)"
durable() { echo $(($(metric pointsman_journal_sequence) - $(metric pointsman_journal_durable_sequence))); }
eventually "the rollback is on the disk" 0 durable

# ---- the latch holds: an edit, SIGKILL and a new start
write_guarded 60 2.0
eventually "another weight is applied" 2 generation
sleep 0.5
equal "after an edit of the weight" rolled_back "$(state)"
crash=$(now_ms)
kill_now "$proxy_pid"
end_load 0
last=$(load_rows failed "$failing" "$latched" canary | cut -f1 | sort -n | tail -n 1)
within "milliseconds from the fault to the last request on the canary" 1 1500 $((last - failing))
within "failed responses" 1 80 "$(requests failed)"
rests "after the rollback and an edit" "$latched" "$crash"
serves "before it failed" "$load_from" "$failing"
# What had no response yet was cut by SIGKILL.
equal "failures before SIGKILL that are not the canary's" "" \
  "$(load_rows '[^of].*' 0 "$crash" | awk -v crash="$crash" '$1 + $2 < crash' | head -n 3)"
start_proxy
start_load --failing
started=$(now_ms)
equal "after a new start" rolled_back "$(state)"
sleep 1
verified=$(act journal --verify) || fail "the chain of the journal: $verified"
replayed=$(act journal --replay) || fail "a decision does not follow from its counts: $replayed"
echo "$replayed" | sed -n '1,3s/^/   /p'
contains "the journal decides the same again" 'all:canary' "$replayed"

# ---- a person resumes it; there is no latch to end twice
resuming=$(now_ms)
resumed=$(act rollout resume "$release" --reason "it is repaired" --yes)
contains "the answer of a resume" 'resumed.*all:canary' "$resumed"
equal "after a resume" watching "$(state)"
sleep 1
code=0
output=$(act rollout resume "$release" --reason "again" --yes 2>&1) || code=$?
equal "the exit code of a resume without a latch" 2 "$code"
contains "it says why" 'not rolled back' "$output"

# ---- a hand-over keeps a latch
mood canary 100
eventually "it is rolled back again" rolled_back state
mood canary 0
latched_again=$(after)
before=$proxy_pid
sleep 1
kill -USR2 "$before"
handed_over() { [ "$(admin /status | json 'it["pid"]')" != "$before" ] && echo yes; }
eventually "another process serves" yes handed_over
proxy_pid=$(admin /status | json 'it["pid"]')
pids+=("$proxy_pid")
equal "after a hand-over" rolled_back "$(state)"
sleep 1

# ---- another revision is another release
replacing=$(now_ms)
write_guarded 10 2.1
eventually "another revision is watched" watching state
replaced=$(after)
sleep 1

# ---- the canary accepts no connections, and is back
down=$(now_ms)
kill_now "$canary_pid"
eventually "it is held" "('held', 'canary down')" cause
held=$(after)
sleep 1
back=$(now_ms)
start_echo canary "$canary_port"
eventually "the hold ends by itself" watching state
sleep 1
end_load 0
end=$(now_ms)
rests "from the start on" "$started" "$resuming"
serves "after a resume" "$resuming" "$latched_again"
rests "after another rollback and a hand-over" "$latched_again" "$replacing"
serves "of another revision" "$replaced" "$down"
rests "while it is held" "$held" "$back"
serves "after it is back" "$back" "$end"
no_request "a failure that is not the canary's" '[^of].*'

# ---- guards that only warn
write_guarded 10 2.2 warn
eventually "guards that warn" 3 generation
start_load --failing
sleep 1
equal "before it fails" watching "$(state)"
mood canary 100
eventually "a canary that fails is reported" warned state
warned=$(after)
sleep 1
mood canary 0
end_load 0
serves "with guards that warn" "$warned" "$(now_ms)"

# ---- the canary does not come back within ten seconds
write_guarded 10 2.3
eventually "guards that roll back" 4 generation
start_load --failing
sleep 0.5
kill_now "$canary_pid"
eventually "it is held again" "('held', 'canary down')" cause
eventually "it is rolled back when it stays away" rolled_back state
end_load 0
no_request "a failure while it is down" '[^o].*'
start_echo canary "$canary_port"
kill -TERM "$proxy_pid"
gone() { [ ! -S "$scratch/state/run/admin.sock" ] && echo yes; }
eventually "the proxy ends" yes gone

# ---- a full disk
disk=$scratch/disk
mkdir "$disk"
if mount -t tmpfs -o size=256k tmpfs "$disk" 2>/dev/null; then
  undo_first+=("umount -l '$disk'")
else
  not_checked "a full disk: this user may not mount one"
  exit 0
fi
write_guarded 10 3.0
printf '[state]\ndir = "%s"\n' "$disk/state" >>"$scratch/routes.toml"
start_proxy
start_load --failing
equal "the journal can be written" 1 "$(metric pointsman_journal_writable)"
sleep 1
dd if=/dev/zero of="$disk/filler" bs=4k 2>/dev/null || true
mood canary 100
eventually "it is rolled back on a full disk" rolled_back state
latched=$(after)
sleep 0.5
end_load 0
rests "after a rollback on a full disk" "$latched" "$(now_ms)"
rm "$disk/filler"
recorded() { admin "/v1/rollouts/$release" | json "it['durable']"; }
eventually "the rollback is recorded when there is space" True recorded
equal "and it is still rolled back" rolled_back "$(state)"
