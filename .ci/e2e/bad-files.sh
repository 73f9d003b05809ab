#!/usr/bin/env bash
# Files that are broken, cut off, empty, huge, not there or not to be read, at 500 requests a second: the old rules hold
# through all of them, every caller meets the same variant, each is refused for its own reason, and the next good file
# is applied.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
write_routes <<'TOML'
[identity]
user = ["cookie:uid"]

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
sticky = ["user"]
TOML
start_pointsman
file=$scratch/routes.toml
cp "$file" "$scratch/good.toml"
start_load 36 --sticky
sleep 1
reload() { curl -sS --max-time 30 -X POST "http://127.0.0.1:$admin_port/reload"; }
most=0
# refused WHAT PATTERN: asks for a reload now, which must be refused for this reason, soon.
refused() {
  local began said
  began=$(now_ms)
  said=$(reload)
  [ $(($(now_ms) - began)) -le "$most" ] || most=$(($(now_ms) - began))
  contains "$1" "$2" "$said"
  equal "$1: the generation" 1 "$(metric pointsman_config_generation)"
  equal "$1: it is known" 0 "$(metric pointsman_config_last_reload_success)"
}
echo 'weight = = 3' >>"$file"
refused "a broken file" 'TOML'
head -c -20 "$scratch/good.toml" >"$file"
refused "a file that is cut off" 'error'
: >"$file"
refused "an empty file" 'missing-listener|no `\[\[listener'
head -c 5000 /dev/urandom >"$file"
refused "random bytes" 'not-utf8|not UTF-8'
{ cat "$scratch/good.toml"; head -c 50000000 /dev/zero | tr '\0' '#'; echo; } >"$file"
refused "50 MB" 'MiB'
# Below the bound: all of it is read. Broken in every line, and one deep nest.
{ cat "$scratch/good.toml"; head -c 30000000 < <(yes 'a = = "b"'); } >"$file"
refused "30 MB of broken lines" 'error'
{ cat "$scratch/good.toml"; echo -n 'deep = '; head -c 20000000 /dev/zero | tr '\0' '['; } >"$file"
refused "20 MB of brackets" 'error'
rm "$file"
refused "no file" 'no such file'
mkdir "$file"
refused "a directory" 'directory'
rmdir "$file"
ln -s routes.toml "$file"
refused "a link to itself" 'error'
rm "$file"
mkfifo "$file"
refused "a pipe that nobody writes to" 'pipe'
rm "$file"
cp "$scratch/good.toml" "$file"
chmod 0 "$file"
if [ -r "$file" ]; then
  not_checked "a file without permission: this user reads everything"
else
  refused "a file without permission" 'ermission'
fi
chmod 644 "$file"
eventually "the good file is as before" 1 metric pointsman_config_last_reload_success
equal "and makes no new generation" 1 "$(metric pointsman_config_generation)"
echo "   the slowest refusal took $most ms"
end_load
all_ok 15000
within "milliseconds, 99 of 100" 0 500 "$(quantile 99 ok)"
sed -i 's/weight = 30 /weight = 60 /' "$file"
eventually "the next edit is applied" 2 metric pointsman_config_generation
echo "   resident at most: $(awk '$1 == "VmHWM:" { print int($2 / 1024) }' "/proc/$pointsman_pid/status") MiB"
