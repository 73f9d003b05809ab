#!/usr/bin/env bash
# A bad file changes nothing, is loud, and is explained by `check` with line and column; exit codes.
source "$(dirname "$0")/lib.sh"
need curl python3

start_upstream stable
start_upstream canary
write_routes <<'TOML'
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 0 }
TOML
equal "check accepts the good file" 0 "$("$pointsman" check "$scratch/routes.toml" >/dev/null 2>&1; echo $?)"
start_pointsman
cp "$scratch/routes.toml" "$scratch/good.toml"

line=$(($(wc -l <"$scratch/routes.toml") + 3))
printf '\n[[route]]\nnmae = "typo"\nstable = "v3"\n' >>"$scratch/routes.toml"
eventually "the rejection is a metric" 0 metric pointsman_config_last_reload_success
equal "the old rules hold" stable "$(served "http://127.0.0.1:$port/")"
equal "the generation stays" 1 "$(metric pointsman_config_generation)"
equal "readiness is left alone" 200 "$(status "http://127.0.0.1:$admin_port/readyz")"

code=0
said=$("$pointsman" check "$scratch/routes.toml" 2>&1) || code=$?
equal "check refuses with" 78 "$code"
contains "check says where" "routes.toml:$line:" "$said"
contains "check says what" 'nmae' "$said"
contains "check knows better" 'name' "$said"
contains "check says everything at once" 'v3' "$said"
code=0
(cd "$scratch" && timeout 20 "$pointsman" run routes.toml >/dev/null 2>&1) || code=$?
equal "run refuses with" 78 "$code"

for bad in half empty binary; do
  case $bad in
    half) head -c -10 "$scratch/good.toml" >"$scratch/routes.toml" ;;
    empty) : >"$scratch/routes.toml" ;;
    binary) head -c 5000 /dev/urandom >"$scratch/routes.toml" ;;
  esac
  equal "check refuses a $bad file" 78 "$(timeout 20 "$pointsman" check "$scratch/routes.toml" >/dev/null 2>&1; echo $?)"
  equal "the old rules hold with a $bad file" stable "$(served "http://127.0.0.1:$port/")"
done

sed 's/weight = 0 /weight = 100 /' "$scratch/good.toml" >"$scratch/routes.toml"
eventually "the mended file is applied" canary served "http://127.0.0.1:$port/"
eventually "and said so" 1 metric pointsman_config_last_reload_success

equal "wrong usage" 64 "$("$pointsman" run --no-such-flag >/dev/null 2>&1; echo $?)"
equal "a missing file" 78 "$("$pointsman" check "$scratch/nowhere.toml" >/dev/null 2>&1; echo $?)"
equal "the shipped file" 0 "$("$pointsman" check "$here/../../routes.toml" >/dev/null 2>&1; echo $?)"
