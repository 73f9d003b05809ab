#!/usr/bin/env bash
# An upstream frozen by SIGSTOP at 500 requests a second: its share gets 504 when the timeout says so, the other share
# does not notice; after SIGCONT all is well.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
write_routes <<'TOML'
[identity]
user = ["cookie:uid"]

[[route]]
name    = "all"
match   = { path = "/*" }
stable  = "v1"
canary  = { upstream = "v2", weight = 30 }
sticky  = ["user"]
timeout = { request = "1s" }
TOML
start_pointsman
start_load 13 --sticky
sleep 3
frozen=$(now_ms)
kill -STOP "$canary_pid"
sleep 5
kill -CONT "$canary_pid"
thawed=$(now_ms)
end_load
none "an answer that belongs to another request, or none" 'wrong|late|refused|cut|502|503'
none "failed before it was frozen" '[^o].*' 0 $((frozen - 1200))
# A request is answered in time or not by when it was sent: the last ones time out, or are answered late, after the thaw.
none "failed when it was well again" '[^o].*' $((thawed + 1500))
within "requests that timed out" 300 1200 "$(of 504)"
equal "the frozen upstream answers nobody" 0 "$(served_ok canary $((frozen + 300)) $((thawed - 1200)))"
within "the other share is served" 1000 10000000 "$(served_ok stable $((frozen + 300)) $((thawed - 1200)))"
within "and is not slowed down: milliseconds, 99 of 100" 0 300 "$(quantile 99 ok $((frozen + 300)) $((thawed - 1200)))"
soonest=$(awk -F'\t' '$3 == 504 && (!n || $2 < n) { n = $2 } END { printf "%d\n", n }' "$scratch/load.tsv")
within "no timeout came early: milliseconds" 999 2000 "$soonest"
within "no timeout came late: milliseconds, 99 of 100" 1000 2500 "$(quantile 99 504)"
within "it serves again" 500 10000000 "$(served_ok canary $((thawed + 1500)))"
