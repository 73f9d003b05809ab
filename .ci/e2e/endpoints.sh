#!/usr/bin/env bash
# A file of endpoints at 500 GETs a second: replaced, appended to, gone, half written, empty, with a million lines, with 0.0.0.0.
# What is wrong changes nothing; no GET fails, and the connections to endpoints that stay, stay. The proxy itself as an endpoint: few
# requests get 508. 10 000 endpoints: the time of a reload, of a change of one, and what a request pays.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
patience=180
start_echo one
start_echo two
# One service at every address of 127.0.0.0/8.
start_echo many 0 0.0.0.0
stable_port=$one_port
mkdir "$scratch/endpoints"
file=$scratch/endpoints/web.txt

# replace: standard input becomes the file, as a whole.
replace() {
  cat >"$file.new"
  mv "$file.new" "$file"
}
replace <<<"http://127.0.0.1:$one_port"
write_routes <<TOML
[upstream.web]
endpoints = { file = "endpoints/web.txt" }
limits    = { connections = 16384 }
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "web"
TOML
checked=$("$pointsman" check "$scratch/routes.toml" 2>&1) || fail "the file is not valid: $checked"
start_proxy

total() { metric 'pointsman_upstream_endpoints{upstream="web"}'; }
good() { metric pointsman_config_last_reload_success; }
generation() { metric pointsman_config_generation; }
accepted() { curl -sS "http://127.0.0.1:$1/accepted" | sed -n 2p; }
# refused WHAT PATTERN: the file is refused, status says why, and the endpoints stay.
refused() {
  local what=$1 pattern=$2
  eventually "$what: the file is refused" 0 good
  # Lines of the terminal's width are one again.
  contains "$what: status says why" "$pattern" "$(cd "$scratch" && "$pointsman" status | tr -s ' \n' ' ')"
  equal "$what: the last good endpoints stay" "$endpoints" "$(total)"
}
# mended: the file is good again.
mended() {
  replace
  eventually "a good file is taken" 1 good
}
both() { printf 'http://127.0.0.1:%s\n' "$one_port" "$two_port"; }

echo "-- endpoints come and go"
start_load --gets --names one,two,many
both | replace
eventually "a file that is replaced" 2 total
sleep 1
before=$(accepted "$one_port")
for _ in 1 2 3 4 5; do
  at=$(generation)
  both | sed "s/:$two_port$/& weight=2/" | replace
  eventually "another weight" $((at + 1)) generation
  both | replace
  eventually "the weight as before" $((at + 2)) generation
done
echo "http://127.0.0.1:$many_port" >>"$file"
eventually "a line that is appended to the file is read" 3 total
both | replace
eventually "it is gone" 2 total
# The connections of this script, and those that the load needs more for a moment.
within "connections to an endpoint that stays, over ten changes of another one" 0 30 "$(($(accepted "$one_port") - before))"
both | sed "s/:$one_port$/& drain/" | replace
drained() { metric 'pointsman_upstream_endpoints_state{state="drained",upstream="web"}'; }
eventually "a drain in the file" 1 drained
drain_from=$(now_ms)
sleep 1.5
refusal=$(cd "$scratch" && "$pointsman" upstream undrain web "127.0.0.1:$one_port" --reason test 2>&1) && fail "a drain of the file ends by hand"
contains "a drain of the file does not end by hand" 'file' "$refusal"
drain_end=$(now_ms)
both | replace
eventually "its end" 0 drained
endpoints=2

echo "-- files that are wrong"
rm "$file"
refused "a file that is gone" 'web\.txt'
both | mended
{ both && printf 'http://127.0.0.1:%s' "${two_port:0:2}"; } | replace
refused "a file that is half written" 'half written'
both | mended
replace </dev/null
refused "an empty file" 'web\.txt'
both | mended
python3 -c "print('http://127.0.0.1:$one_port\n' * 1000000, end='')" | replace
refused "a million lines" '65 ?536|too (many|large)|16 MiB|twice'
both | mended
{ both && echo "http://0.0.0.0:$two_port"; } | replace
refused "0.0.0.0" '0\.0\.0\.0'
both | mended
{ both && echo "http://127.0.0.1:99999"; } | replace
refused "a port that is none" 'web\.txt:3'
both | mended
end_load 1
no_request "a GET fails" '[^o].*'
equal "responses of the drained endpoint" 0 "$(served_ok one "$((drain_from + 500))" "$drain_end")"

echo "-- the proxy itself"
start_load --gets --names one,two,many
sleep 1
at=$(generation)
loop_from=$(now_ms)
{ both && echo "http://127.0.0.1:$port"; } | replace
eventually "it is an endpoint" $((at + 1)) generation
contains "check says so" "is a listener of this proxy" "$("$pointsman" check "$scratch/routes.toml" 2>&1 || true)"
eventually "the log says so, once" 1 count_lines "$scratch/pointsman.log" 'is a listener of this proxy'
sleep 3
# A request that comes back a second time gets 508: a ninth if each endpoint gets as many, fewer as this one is the slowest.
loops() { metric 'pointsman_refused_total{reason="loop"}'; }
at_least "requests in a loop" 1 loops
both | replace
eventually "it is gone" $((at + 2)) generation
loop_end=$(now_ms)
end_load 2
no_request "another failure than 508" '[^o5].*|50[^8]|5[^0].'
no_request "a request fails before" '[^o].*' 0 "$loop_from"
no_request "a request fails afterwards" '[^o].*' "$((loop_end + 500))"
within "508 of 100 requests" 0 20 "$(($(requests 508) * 100 / $(requests '.*' "$loop_from" "$loop_end")))"
echo "   $(requests 508 "$loop_from" "$loop_end") of $(requests '.*' "$loop_from" "$loop_end") requests get 508"

echo "-- 10 000 endpoints"
python3 - "$many_port" >"$scratch/many" <<'PYTHON'
import sys
for number in range(10_000):
    print(f"http://127.1.{number // 250}.{number % 250 + 1}:{sys.argv[1]}")
PYTHON
start_load --gets --names one,two,many --rate 200
begun=$(now_ms)
replace <"$scratch/many"
eventually "all of them" 10000 total
echo "   10 000 endpoints after $(($(now_ms) - begun)) ms"
at=$(generation)
begun=$(now_ms)
sed '5000s/$/ weight=2/' "$scratch/many" | replace
eventually "a change of one is in effect" $((at + 1)) generation
echo "   a change of one after $(($(now_ms) - begun)) ms"
equal "none is lost" 10000 "$(total)"
contains "the list is short" 'upstream ls web` shows all' "$(cd "$scratch" && "$pointsman" upstream ls)"
both | replace
eventually "two of them" 2 total
end_load 1
no_request "a GET fails" '[^o].*'
echo "   p99 $(latency 99 ok) ms"
