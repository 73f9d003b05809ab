#!/usr/bin/env bash
# Files that are invalid, cut off, empty, huge, missing or unreadable, at 500 requests a second: the previous rules stay
# active, every caller keeps its variant, each file is rejected for its own reason, and the next valid file is applied.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30 "$sticky_by_cookie"
start_proxy
file=$scratch/routes.toml
cp "$file" "$scratch/valid.toml"
start_load --sticky
most=0
# rejected WHAT PATTERN: a reload reports an error that matches.
rejected() {
  local began output
  began=$(now_ms)
  output=$(admin /reload -X POST)
  [ $(($(now_ms) - began)) -le "$most" ] || most=$(($(now_ms) - began))
  contains "$1" "$2" "$output"
  equal "$1: the generation" 1 "$(metric pointsman_config_generation)"
  equal "$1: the metric" 0 "$(metric pointsman_config_last_reload_success)"
}
echo 'weight = = 3' >>"$file"
rejected "a syntax error" 'TOML'
head -c -20 "$scratch/valid.toml" >"$file"
rejected "a file that is cut off" 'error'
: >"$file"
rejected "an empty file" 'missing-listener|no `\[\[listener'
head -c 5000 /dev/urandom >"$file"
rejected "random bytes" 'not-utf8|not UTF-8'
{ cat "$scratch/valid.toml"; head -c 50000000 /dev/zero | tr '\0' '#'; echo; } >"$file"
rejected "50 MB" 'MiB'
# Below the size limit the whole file is read: an error in every line, and deep nesting.
{ cat "$scratch/valid.toml"; head -c 30000000 < <(yes 'a = = "b"'); } >"$file"
rejected "30 MB of invalid lines" 'error'
{ cat "$scratch/valid.toml"; echo -n 'deep = '; head -c 20000000 /dev/zero | tr '\0' '['; } >"$file"
rejected "20 MB of brackets" 'error'
rm "$file"
rejected "no file" 'no such file'
mkdir "$file"
rejected "a directory" 'directory'
rmdir "$file"
ln -s routes.toml "$file"
rejected "a link to itself" 'error'
rm "$file"
mkfifo "$file"
rejected "a pipe without a writer" 'pipe'
rm "$file"
cp "$scratch/valid.toml" "$file"
chmod 0 "$file"
if [ -r "$file" ]; then
  not_checked "a file without permission: this user may read all files"
else
  rejected "a file without permission" 'ermission'
fi
chmod 644 "$file"
eventually "the valid file is loaded" 1 metric pointsman_config_last_reload_success
equal "it makes no new generation" 1 "$(metric pointsman_config_generation)"
echo "   the slowest rejection took $most ms"
end_load
all_ok
within "latency in milliseconds, p99" 0 500 "$(latency 99 ok)"
set_weight 30 60
eventually "the next edit is applied" 2 metric pointsman_config_generation
echo "   resident memory at most: $(memory_mib VmHWM) MiB"
