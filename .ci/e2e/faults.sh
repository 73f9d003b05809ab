# shellcheck shell=bash
# What the scripts about faults share besides lib.sh: load at 500 requests a second with a check of every answer, and
# words about what became of it. Source it instead of lib.sh.
# shellcheck source=SCRIPTDIR/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Commands to undo what was done to the system: before and after the processes are ended.
undo_first=() undo_last=() group=""
# Set by what starts upstreams of these names.
# shellcheck disable=SC2034
stable_pid="" canary_pid="" stable_port="" canary_port=""
finish_all() {
  local code=$? command
  set +e
  for command in "${undo_first[@]}"; do eval "$command"; done
  (exit "$code")
  finish
  for command in "${undo_last[@]}"; do eval "$command"; done
}
trap finish_all EXIT

not_checked() {
  echo "NOT CHECKED: $*"
}

now_ms() {
  date +%s%3N
}

# start_echo NAME [PORT [ADDRESS]]: an upstream whose answers can be checked. Sets NAME_port and NAME_pid.
start_echo() {
  local name=$1
  rm -f "$scratch/$name.port"
  python3 "$here/echo.py" "$name" "$scratch/$name.port" "${@:2}" >>"$scratch/$name.log" 2>&1 &
  printf -v "${name}_pid" '%s' "$!"
  pids+=("$!")
  for _ in $(seq 400); do [ -s "$scratch/$name.port" ] && break; sleep 0.025; done
  [ -s "$scratch/$name.port" ] || fail "the upstream $name did not start: $(cat "$scratch/$name.log")"
  printf -v "${name}_port" '%s' "$(cat "$scratch/$name.port")"
}

# end PID: at once, and waits until it is gone.
end() {
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# start_load SECONDS [OPTIONS…]: 500 requests a second to the proxy. Sets load_pid; the result is $scratch/load.tsv.
start_load() {
  local seconds=$1
  shift
  rm -f "$scratch/load.tsv"
  python3 "$here/open_loop.py" "$port" "$seconds" "$scratch/load.tsv" "$@" &
  load_pid=$!
  pids+=("$load_pid")
}

# end_load: waits for its end and says what became of the requests.
end_load() {
  wait "$load_pid" || fail "the load generator failed"
  [ -s "$scratch/load.tsv" ] || fail "the load generator has no result"
  summary
}

summary() {
  awk -F'\t' '
    { n[$3]++; took[$3] += $2; if ($2 > most[$3]) most[$3] = $2 }
    END { for (k in n) printf "   %-8s %6d  mean %7.1f ms  most %7.1f ms\n", k, n[k], took[k] / n[k], most[k] }
  ' "$scratch/load.tsv" | sort
}

# of KIND [FROM TO]: how many requests came to this; KIND is a regular expression, the times bound when they were sent.
of() {
  awk -F'\t' -v kind="^($1)\$" -v from="${2:-0}" -v to="${3:-9e15}" \
    '$3 ~ kind && $1 >= from && $1 < to { n++ } END { print n + 0 }' "$scratch/load.tsv"
}

# served_ok NAME [FROM TO]: how many of the good answers came from there.
served_ok() {
  awk -F'\t' -v name="$1" -v from="${2:-0}" -v to="${3:-9e15}" \
    '$3 == "ok" && $4 == name && $1 >= from && $1 < to { n++ } END { print n + 0 }' "$scratch/load.tsv"
}

# slowest KIND [FROM TO]: the longest wait of those, in whole milliseconds.
slowest() {
  awk -F'\t' -v kind="^($1)\$" -v from="${2:-0}" -v to="${3:-9e15}" \
    '$3 ~ kind && $1 >= from && $1 < to && $2 > most { most = $2 } END { printf "%d\n", most + 0 }' "$scratch/load.tsv"
}

# quantile Q KIND [FROM TO]: so many of a hundred waited no longer than this, in whole milliseconds.
quantile() {
  awk -F'\t' -v kind="^($2)\$" -v from="${3:-0}" -v to="${4:-9e15}" \
    '$3 ~ kind && $1 >= from && $1 < to { print $2 }' "$scratch/load.tsv" |
    sort -n | awk -v q="$1" '{ all[NR] = $1 } END { printf "%d\n", NR ? all[int((NR - 1) * q / 100) + 1] : 0 }'
}

# none WHAT KIND [FROM TO]: no request came to this; else the first ones are shown.
none() {
  local what=$1 kind=$2 from=${3:-0} to=${4:-9e15} found
  found=$(of "$kind" "$from" "$to")
  if [ "$found" != 0 ]; then
    awk -F'\t' -v kind="^($kind)\$" -v from="$from" -v to="$to" '$3 ~ kind && $1 >= from && $1 < to' "$scratch/load.tsv" |
      head -n 5
    fail "$what: $found requests"
  fi
  passed=$((passed + 1))
}

# all_ok LEAST [FROM TO]: every request got its own answer, and there were at least so many.
all_ok() {
  local least=$1
  shift
  none "not every request got its answer" '[^o].*' "$@"
  within "requests with a good answer" "$least" 10000000 "$(of ok "$@")"
}

# lines_of FILE PATTERN: how many lines match.
lines_of() {
  grep -cE -- "$2" "$1" || true
}

# cpu_ms PID: what it has used so far.
cpu_ms() {
  sed 's/.*) //' "/proc/$1/stat" | awk -v hz="$(getconf CLK_TCK)" '{ print int(($12 + $13) * 1000 / hz) }'
}

# launch_with COMMANDS: from now on the proxy is started by a shell that runs these first.
launch_with() {
  printf '#!/bin/sh\n%s\nexec "%s" "$@"\n' "$1" "$(realpath "$pointsman")" >"$scratch/launch"
  chmod +x "$scratch/launch"
  pointsman=$scratch/launch
}

# control_group CONTROLLER FILE=VALUE…: makes a group with these bounds under the first of both kinds of hierarchies
# that can be written; a FILE may be written old|new, by its names in version 1 and 2. Sets group; else fails.
control_group() {
  local controller=$1 place version pair name value
  shift
  for place in "/sys/fs/cgroup/$controller" /sys/fs/cgroup /sys/fs/cgroup/unified; do
    version=1
    if [ -e "$place/cgroup.controllers" ]; then
      version=2
      grep -qw "$controller" "$place/cgroup.subtree_control" 2>/dev/null ||
        echo "+$controller" 2>/dev/null >"$place/cgroup.subtree_control" || continue
    elif [ "$place" != "/sys/fs/cgroup/$controller" ]; then
      continue
    fi
    group=$place/pointsman-e2e-$$
    mkdir "$group" 2>/dev/null || continue
    undo_last+=("rmdir '$group'")
    for pair in "$@"; do
      name=${pair%%=*} value=${pair#*=}
      if [ "$version" = 1 ]; then name=${name%%|*} value=${value%%|*}; else name=${name#*|} value=${value#*|}; fi
      [ "$name" = - ] || echo "$value" 2>/dev/null >"$group/$name" || return 1
    done
    # A group that takes nobody is none.
    sh -c "echo \$\$ >'$group/cgroup.procs'" 2>/dev/null && return 0
  done
  return 1
}
