#!/usr/bin/env bash
# An invalid file changes nothing, is visible, and `check` explains it with line and column; exit codes.
source "$(dirname "$0")/lib.sh"
start_upstreams stable canary
write_split 0
equal "check accepts the valid file" 0 "$(exit_code "$pointsman" check "$scratch/routes.toml")"
start_proxy
cp "$scratch/routes.toml" "$scratch/valid.toml"

line=$(($(wc -l <"$scratch/routes.toml") + 3))
printf '\n[[route]]\nnmae = "typo"\nstable = "v3"\n' >>"$scratch/routes.toml"
eventually "a metric shows the rejection" 0 metric pointsman_config_last_reload_success
equal "the previous rules stay active" stable "$(served "http://127.0.0.1:$port/")"
equal "the generation stays" 1 "$(metric pointsman_config_generation)"
equal "the proxy stays ready" 200 "$(status "http://127.0.0.1:$admin_port/readyz")"

code=0
output=$("$pointsman" check "$scratch/routes.toml" 2>&1) || code=$?
equal "the exit code of check" 78 "$code"
contains "check prints the position" "routes.toml:$line:" "$output"
contains "check prints the unknown key" 'nmae' "$output"
contains "check suggests the right key" 'name' "$output"
contains "check prints all errors at once" 'v3' "$output"
equal "the exit code of run" 78 "$(exit_code "$pointsman" run "$scratch/routes.toml")"

for bad in cut empty binary; do
  case $bad in
    cut) head -c -10 "$scratch/valid.toml" >"$scratch/routes.toml" ;;
    empty) : >"$scratch/routes.toml" ;;
    binary) head -c 5000 /dev/urandom >"$scratch/routes.toml" ;;
  esac
  equal "check rejects the file: $bad" 78 "$(exit_code "$pointsman" check "$scratch/routes.toml")"
  equal "the previous rules stay active: $bad" stable "$(served "http://127.0.0.1:$port/")"
done

sed 's/weight = 0 /weight = 100 /' "$scratch/valid.toml" >"$scratch/routes.toml"
eventually "a valid file is applied" canary served "http://127.0.0.1:$port/"
eventually "the metric shows it" 1 metric pointsman_config_last_reload_success

equal "wrong usage" 64 "$(exit_code "$pointsman" run --no-such-flag)"
equal "a missing file" 78 "$(exit_code "$pointsman" check "$scratch/nowhere.toml")"
equal "the shipped file" 0 "$(exit_code "$pointsman" check "$here/../../routes.toml")"
