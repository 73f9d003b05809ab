"""What deploy/ holds for Compose, Kubernetes, Helm and Grafana, against the real schemas and the real template engine.

    manifests.py DEPLOY SCRATCH    writes the routes files that are inside of others to SCRATCH, for `pointsman check`,
                                   and the arguments of `pointsman run` to SCRATCH/arguments, one list a line
"""

import json
import re
import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml
from compose_spec import PyCompose

KUBERNETES = ["1.27", "1.32", "1.37"]
deploy, scratch = Path(sys.argv[1]), Path(sys.argv[2])
passed = 0


def hold(what, holds):
    global passed
    if not holds:
        sys.exit(f"FAILED: {what}")
    passed += 1


def refused(what, attempt):
    try:
        attempt()
    except Exception:
        return hold(what, True)
    hold(f"{what} is refused", False)


def validate(text, source):
    """Every object against the schemas of each Kubernetes, unknown keys refused."""
    found = {}
    for thing in filter(None, yaml.safe_load_all(text)):
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"FAILED: {source}, {thing['kind']}, Kubernetes {version}: {error.message} at {list(error.path)}")
        hold(f"{source}: two objects of one kind", thing["kind"] not in found)
        found[thing["kind"]] = thing
    return found


def seconds(arguments, name):
    [text] = [argument for argument in arguments if argument.startswith(name + "=")]
    return int(re.fullmatch(r"(\d+)s", text.split("=")[1])[1])


def of_kubernetes(found, source):
    """What no schema knows."""
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    arguments = container["args"]
    needed = seconds(arguments, "--drain-delay") + seconds(arguments, "--drain-deadline") + 2
    hold(f"{source}: {pod['terminationGracePeriodSeconds']} s for a drain of {needed} s",
         pod["terminationGracePeriodSeconds"] > needed)
    hold(f"{source}: a subPath is never renewed", all("subPath" not in mount for mount in container["volumeMounts"]))
    security = container["securityContext"]
    hold(f"{source}: root, or a file system to write to",
         pod["securityContext"]["runAsNonRoot"] and security["readOnlyRootFilesystem"]
         and not security["allowPrivilegeEscalation"] and security["capabilities"] == {"drop": ["ALL"]})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[probe]["httpGet"] for probe in ["startupProbe", "readinessProbe", "livenessProbe"]]
    hold(f"{source}: a probe elsewhere", all(probe["port"] == "admin" for probe in probes))
    hold(f"{source}: paths of the probes", [probe["path"] for probe in probes] == ["/readyz", "/readyz", "/healthz"])
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in [found["Deployment"]["spec"]["selector"]["matchLabels"], found["Service"]["spec"]["selector"],
                     found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
                     found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]]:
        hold(f"{source}: a selector that selects nothing", selector.items() <= labels.items())
    hold(f"{source}: the autoscaler's target",
         found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"])
    hold(f"{source}: both the file and the autoscaler own the replicas", "replicas" not in found["Deployment"]["spec"])
    for port in found["Service"]["spec"]["ports"]:
        hold(f"{source}: a port of the Service that no pod has", port["targetPort"] in ports)
        hold(f"{source}: the admin listener is in the Service", port["targetPort"] != "admin")
    routes = found["ConfigMap"]["data"]["routes.toml"]
    for port in [ports["http"], ports["admin"]]:
        hold(f"{source}: routes.toml does not listen on {port}", f":{port}\"" in routes)
    return routes, arguments


def kubernetes():
    texts = [path.read_text() for path in sorted((deploy / "kubernetes").glob("*.yaml"))]
    return of_kubernetes(validate("\n---\n".join(texts), "deploy/kubernetes"), "deploy/kubernetes")


def chart():
    path = deploy / "helm" / "pointsman"
    report = helm.lint(path, strict=True)
    bad = [message for message in report["messages"] if message["severity"] > 1]
    hold(f"helm lint: {bad} {report['errors']}", not bad and not report["errors"])
    with helm.Chart.load(path) as loaded:
        def render(values):
            rendered = loaded.render(values, name="edge", namespace="edge")
            return "\n---\n".join(text for name, text in rendered.items() if name.endswith(".yaml"))

        default = of_kubernetes(validate(render({}), "the chart"), "the chart")
        variants = {
            "no autoscaler": {"autoscaling": {"enabled": False}, "replicas": 2},
            "a digest": {"image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]}},
            "a ConfigMap of one's own": {"existingConfigMap": "mine", "workers": 0},
            "ClusterIP": {"service": {"type": "ClusterIP", "annotations": {"a": "b"}}},
            "bare": {"podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}, "podAnnotations": None},
            "TLS": {
                "ports": [{"name": "https", "containerPort": 8443, "servicePort": 443}],
                "volumes": [{"name": "certs", "secret": {"secretName": "edge-tls"}}],
                "volumeMounts": [{"name": "certs", "mountPath": "/etc/certs", "readOnly": True}],
                "env": [{"name": "CANARY", "value": "5"}],
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"key": "edge", "operator": "Exists"}],
                "priorityClassName": "system-cluster-critical",
                "podLabels": {"team": "edge"},
            },
        }
        rendered = {name: validate(render(values), f"the chart with {name}") for name, values in variants.items()}
        hold("replicas without an autoscaler", rendered["no autoscaler"]["Deployment"]["spec"]["replicas"] == 2)
        hold("no ConfigMap beside one's own", "ConfigMap" not in rendered["a ConfigMap of one's own"])
        hold("a digest is the image", rendered["a digest"]["Deployment"]["spec"]["template"]["spec"]["containers"][0]
             ["image"] == "pointsman@sha256:" + "0" * 64)
        for what, values in {
            "an unknown value": {"replcas": 3},
            "a negative number of workers": {"workers": -1},
            "a mount with subPath": {"volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b"}]},
            "more at least than at most": {"autoscaling": {"min": 9, "max": 3}},
            "a tag as a digest": {"image": {"digest": "latest"}},
            "a port named admin": {"ports": [{"name": "admin", "containerPort": 1, "servicePort": 1}]},
        }.items():
            refused(what, lambda: render(values))
    print(f"helm {helm.helm_sdk_version()}, Kubernetes {', '.join(KUBERNETES)}")
    return default


def compose():
    thing = yaml.safe_load((deploy / "compose.yaml").read_text())
    parsed = PyCompose.from_json(json.dumps(thing))
    parsed.validate()
    parsed.validate_networks()
    parsed.validate_volumes()
    refused("an unknown network", lambda: PyCompose.from_json(
        json.dumps({"services": {"a": {"image": "a", "networks": ["b"]}}})).validate_networks())
    arguments = []
    for name, service in thing["services"].items():
        hold(f"Compose: {name} could write or has rights",
             service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"].startswith("65532"))
        for volume in service["volumes"]:
            hold(f"Compose: {volume} is a folder", (deploy / volume.split(":")[0]).is_dir())
        command = service["command"]
        hold(f"Compose: {command[1]} is there", (deploy / "compose" / Path(command[1]).name).is_file())
        arguments.append(command)
    proxy = thing["services"]["pointsman"]
    command = proxy["command"]
    drain = [int(command[command.index(flag) + 1].rstrip("s")) for flag in ["--drain-delay", "--drain-deadline"]]
    hold("Compose: stop_grace_period", int(proxy["stop_grace_period"].rstrip("s")) > sum(drain) + 2)
    address = proxy["networks"]["edge"]["ipv4_address"]
    hold("Compose: the admin listener's address", proxy["environment"]["ADMIN_ADDRESS"] == f"{address}:9900")
    hold("Compose: the health check", proxy["healthcheck"]["test"]
         == ["CMD", "/usr/local/bin/pointsman", "status", "--health", "--admin", f"http://{address}:9900"])
    return arguments


def container():
    """The context has what is copied out of it, and the toolchain is the project's."""
    text = (deploy / "container" / "Dockerfile").read_text()
    channel = re.search(r'channel = "(.+)"', (deploy.parent / "rust-toolchain.toml").read_text())[1]
    hold(f"the image builds with Rust {channel}", f"rust:{channel}-slim" in text)
    allowed = [line[1:] for line in (deploy.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in line.split()[:-1]:
            hold(f"{source} is in the build's context", (deploy.parent / source).exists() and source in allowed)


def dashboard():
    """The panels stand side by side; the queries become rules, for promtool and a live Prometheus."""
    thing = json.loads((deploy / "grafana" / "pointsman.json").read_text())
    variables = {variable["name"] for variable in thing["templating"]["list"]} | {"__rate_interval", "__interval", "__all"}
    ids, taken, queries = set(), {}, []
    for panel in thing["panels"]:
        hold(f"two panels have the id {panel['id']}", panel["id"] not in ids)
        ids.add(panel["id"])
        place = panel["gridPos"]
        hold(f"{panel['title']} is wider than the page", place["x"] + place["w"] <= 24)
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if cell in taken:
                sys.exit(f"FAILED: {panel['title']} lies on {taken[cell]}")
            taken[cell] = panel["title"]
        queries += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    queries += [("annotations", annotation["expr"]) for annotation in thing["annotations"]["list"]]
    for title, query in queries:
        unknown = set(re.findall(r"\$\{?(\w+)", query)) - variables
        hold(f"{title}: unknown variables {unknown}", not unknown)
    plain = [(title, re.sub(r"\$\{?(\w+)\}?", lambda found: "10s" if "interval" in found[1] else ".*", query)) for title, query in queries]
    rules = [{"record": f"panel:{number}", "expr": query} for number, (_, query) in enumerate(plain)]
    (scratch / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    (scratch / "queries.json").write_text(json.dumps(plain))
    hold("a dashboard has panels", len(plain) > 30)


def scrape():
    """Debian's promtool knows nothing of Kubernetes, so that it gets the pods' job with addresses instead."""
    thing = yaml.safe_load((deploy / "prometheus" / "scrape-kubernetes.yml").read_text())
    [job] = thing["scrape_configs"]
    [discovery] = job.pop("kubernetes_sd_configs")
    hold("pods are discovered", discovery == {"role": "pod"})
    job["static_configs"] = [{"targets": ["127.0.0.1:9900"]}]
    (scratch / "scrape-pods.yml").write_text(yaml.safe_dump(thing))


routes, arguments = kubernetes()
(scratch / "kubernetes.toml").write_text(routes)
chart_routes, chart_arguments = chart()
(scratch / "chart.toml").write_text(chart_routes)
lists = [arguments, chart_arguments, *compose()]
(scratch / "arguments").write_text("".join(" ".join(words) + "\n" for words in lists))
container()
dashboard()
scrape()
print(f"{passed} statements about the manifests hold")
