"""Checks the files of deploy/ for Compose, Kubernetes, Helm and Grafana with the real schemas and template engine.

    manifests.py DEPLOY SCRATCH    writes the routes files in manifests to SCRATCH, for `pointsman check`, and the arguments
                                   of `pointsman run` to SCRATCH/arguments, one list a line
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml
from compose_spec import PyCompose

KUBERNETES = ["1.27", "1.32", "1.37"]
# Kinds of the Prometheus Operator; the schemas of Kubernetes do not have them.
OPERATOR = "monitoring.coreos.com/v1"
RUNBOOKS = "https://runbooks.example.com/pointsman"
deploy, scratch = Path(sys.argv[1]), Path(sys.argv[2])
passed = 0


def must(what, is_so):
    global passed
    if not is_so:
        sys.exit(f"FAILED: {what}")
    passed += 1


def refused(what, attempt):
    try:
        attempt()
    except Exception:
        return must(what, True)
    must(f"{what} is refused", False)


def validate(text, source):
    """Validates each object with the schemas of each version; unknown keys are errors."""
    found = {}
    for thing in filter(None, yaml.safe_load_all(text)):
        for version in KUBERNETES if thing["apiVersion"] != OPERATOR else []:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"FAILED: {source}, {thing['kind']}, Kubernetes {version}: {error.message} at {list(error.path)}")
        # The service of a StatefulSet has no address, and is a kind of its own here.
        kind = "HeadlessService" if thing.get("spec", {}).get("clusterIP") == "None" else thing["kind"]
        must(f"{source}: two objects of one kind", kind not in found)
        found[kind] = thing
    return found


def seconds(arguments, name):
    [text] = [argument for argument in arguments if argument.startswith(name + "=")]
    return int(re.fullmatch(r"(\d+)s", text.split("=")[1])[1])


def of_kubernetes(found, source, kind="Deployment"):
    """Rules that are not in a schema."""
    pod = found[kind]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    must(f"{source}: the state folder is a volume that the user can write to", mounts["state"] == "/var/lib/pointsman"
         and pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"])
    must(f"{source}: the routes name the state folder",
         'dir = "/var/lib/pointsman"' in found["ConfigMap"]["data"]["routes.toml"])
    of_state(found, source, kind)
    arguments = container["args"]
    needed = seconds(arguments, "--drain-delay") + seconds(arguments, "--drain-deadline") + 2
    must(f"{source}: {pod['terminationGracePeriodSeconds']} s for a drain of {needed} s",
         pod["terminationGracePeriodSeconds"] > needed)
    must(f"{source}: a subPath is never renewed", all("subPath" not in mount for mount in container["volumeMounts"]))
    security = container["securityContext"]
    must(f"{source}: root, or a file system to write to",
         pod["securityContext"]["runAsNonRoot"] and security["readOnlyRootFilesystem"]
         and not security["allowPrivilegeEscalation"] and security["capabilities"] == {"drop": ["ALL"]})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[probe]["httpGet"] for probe in ["startupProbe", "readinessProbe", "livenessProbe"]]
    must(f"{source}: a probe elsewhere", all(probe["port"] == "admin" for probe in probes))
    must(f"{source}: paths of the probes", [probe["path"] for probe in probes] == ["/readyz", "/readyz", "/healthz"])
    labels = found[kind]["spec"]["template"]["metadata"]["labels"]
    for selector in [found[kind]["spec"]["selector"]["matchLabels"], found["Service"]["spec"]["selector"],
                     found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
                     found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]]:
        must(f"{source}: a selector that selects nothing", selector.items() <= labels.items())
    must(f"{source}: the autoscaler's target", found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": kind, "name": found[kind]["metadata"]["name"]})
    must(f"{source}: both the file and the autoscaler own the replicas", "replicas" not in found[kind]["spec"])
    for port in found["Service"]["spec"]["ports"]:
        must(f"{source}: a port of the Service that no pod has", port["targetPort"] in ports)
        must(f"{source}: the admin listener is in the Service", port["targetPort"] != "admin")
    routes = found["ConfigMap"]["data"]["routes.toml"]
    for port in [ports["http"], ports["admin"]]:
        must(f"{source}: routes.toml does not listen on {port}", f":{port}\"" in routes)
    must(f"{source}: the admin listener is on loopback and on the pod's address",
         f'address = ["127.0.0.1:{ports["admin"]}", "${{POD_IP:-127.0.0.1}}:{ports["admin"]}"]' in routes)
    return routes, arguments


def of_state(found, source, kind):
    """A journal has one writer: a folder of the pod, or a claim of the replica, never one volume for two pods."""
    must(f"{source}: one workload", len({"Deployment", "StatefulSet"} & set(found)) == 1)
    workload = found[kind]["spec"]
    volumes = {volume["name"]: volume for volume in workload["template"]["spec"]["volumes"]}
    must(f"{source}: a claim that pods share", all("persistentVolumeClaim" not in volume for volume in volumes.values()))
    if kind == "Deployment":
        return must(f"{source}: the state is a folder of the pod", volumes["state"] == {"name": "state", "emptyDir": {}})
    [claim] = workload["volumeClaimTemplates"]
    must(f"{source}: each replica has a claim", claim["metadata"]["name"] == "state" and "state" not in volumes
         and claim["spec"]["accessModes"] in (["ReadWriteOnce"], ["ReadWriteOncePod"]))
    must(f"{source}: the claim's labels never change", not any("version" in label or "chart" in label
                                                              for label in claim["metadata"]["labels"]))
    headless = found["HeadlessService"]
    must(f"{source}: the service of the replicas", workload["serviceName"] == headless["metadata"]["name"]
         and headless["spec"]["selector"] == workload["selector"]["matchLabels"]
         and "admin" not in [port["targetPort"] for port in headless["spec"]["ports"]])
    must(f"{source}: replicas wait for each other", workload["podManagementPolicy"] == "Parallel")


def kubernetes():
    """The plain manifests; kustomization.yaml lists them all."""
    folder = deploy / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = sorted(path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")
    must("kustomization.yaml lists every manifest", sorted(kustomization["resources"]) == files)
    text = "\n---\n".join((folder / name).read_text() for name in files)
    found = validate(text, "deploy/kubernetes")
    kustomize(folder, found)
    return found


def kustomize(folder, plain):
    """The base, and the overlay in its comment: it replaces the routes and keeps the names."""
    def build(path):
        built = subprocess.run(["kubectl", "kustomize", str(path)], capture_output=True, text=True, check=False, timeout=60)
        must(f"kustomize: {built.stderr}", built.returncode == 0)
        return validate(built.stdout, "kustomize")

    must("kustomize changes nothing", build(folder) == plain)
    comment = [line[1:] for line in (folder / "kustomization.yaml").read_text().splitlines() if line.startswith("#")]
    overlay = yaml.safe_load("\n".join(comment[comment.index("   # kustomization.yaml of an overlay") + 1:]))
    there = scratch / "overlay"
    there.mkdir()
    shutil.copytree(folder, there / "base")
    overlay["resources"] = ["base"]
    (there / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    (there / "routes.toml").write_text("schema = 1\n")
    found = build(there)
    must("the overlay's routes", found["ConfigMap"]["data"] == {"routes.toml": "schema = 1\n"})
    must("the ConfigMap keeps its name", found["ConfigMap"]["metadata"]["name"] == "pointsman"
         and found["Deployment"]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == "pointsman")
    must("the overlay's image", found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
         == "registry.example.com/pointsman:0.1.0")
    must("the overlay's namespace", all(thing["metadata"]["namespace"] == "edge" for thing in found.values()))


def compare(plain, chart):
    """The manifests equal the chart with its defaults, except for names, labels and the sample routes."""
    def bare(thing):
        text = json.dumps(thing, sort_keys=True).replace("edge-pointsman", "pointsman")
        thing = json.loads(text)

        def strip(part):
            if isinstance(part, dict):
                for label in ["instance", "version", "managed-by"]:
                    part.pop(f"app.kubernetes.io/{label}", None)
                part.pop("helm.sh/chart", None)
                for one in part.values():
                    strip(one)
            elif isinstance(part, list):
                for one in part:
                    strip(one)

        strip(thing)
        return thing

    must("the manifests and the chart have the same kinds", set(plain) == set(chart))
    for kind in plain:
        one, other = bare(plain[kind]), bare(chart[kind])
        if kind == "ConfigMap":
            admin = [re.search(r"^\[admin\]\n(.*?)\n\[", thing.pop("data")["routes.toml"], re.M | re.S)[1] for thing in (one, other)]
            settings = [[line for line in text.splitlines() if line and not line.startswith("#")] for text in admin]
            must("[admin] is the same", settings[0] == settings[1])
        must(f"the manifests and the chart differ in their {kind}:\n{json.dumps(one)}\n{json.dumps(other)}", one == other)


def chart():
    path = deploy / "helm" / "pointsman"
    report = helm.lint(path, strict=True)
    bad = [message for message in report["messages"] if message["severity"] > 1]
    must(f"helm lint: {bad} {report['errors']}", not bad and not report["errors"])
    with helm.Chart.load(path) as loaded:
        def render(values):
            return loaded.render(values, name="edge", namespace="edge")

        def objects(values, what):
            rendered = render(values)
            return validate("\n---\n".join(text for name, text in rendered.items() if name.endswith(".yaml")), what)

        default = objects({}, "the chart")
        notes(render)
        of_values(lambda values: objects(values, f"the chart with {json.dumps(values)[:60]}"))
        examples(path, objects)
        for what, values in {
            "an unknown value": {"replcas": 3},
            "a negative number of workers": {"workers": -1},
            "a mount with subPath": {"extraVolumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b"}]},
            "a minimum above the maximum": {"autoscaling": {"min": 9, "max": 3}},
            "a tag as a digest": {"image": {"digest": "latest"}},
            "a port named admin": {"ports": [{"name": "admin", "containerPort": 1, "servicePort": 1}]},
            "a load balancer class without a load balancer": {"service": {"type": "ClusterIP", "loadBalancerClass": "a"}},
            "source ranges without a load balancer": {"service": {"type": "NodePort", "loadBalancerSourceRanges": ["127.0.0.0/8"]}},
            "an invalid source range": {"service": {"loadBalancerSourceRanges": ["office"]}},
            "a runbook that is no URL": {"prometheusRule": {"enabled": True, "runbookBase": "docs"}},
            "an interval that is none": {"podMonitor": {"enabled": True, "interval": "often"}},
            "a service account with an invalid create": {"serviceAccount": {"create": "yes"}},
            "the old name of extraEnv": {"env": [{"name": "A", "value": "b"}]},
            "one volume for several pods": {"persistence": {"enabled": True, "accessMode": "ReadWriteMany"}},
            "a claim without a size": {"persistence": {"enabled": True, "size": "0"}},
            "persistence of routes without a state folder": {"persistence": {"enabled": True}, "routes": "schema = 1\n"},
            "tokens that the routes do not name": {"adminTokens": {"existingSecret": "edge-tokens"}},
        }.items():
            refused(what, lambda: render(values))
    print(f"helm {helm.helm_sdk_version()}, Kubernetes {', '.join(KUBERNETES)}")
    return default


def of_values(render):
    """Every value has its effect."""
    def deployment(values):
        return render(values)["Deployment"]["spec"]

    def pod(values):
        return deployment(values)["template"]["spec"]

    def container(values):
        return pod(values)["containers"][0]

    must("replicas without an autoscaler", deployment({"autoscaling": {"enabled": False}, "replicas": 2})["replicas"] == 2)
    scaler = render({"autoscaling": {"min": 4, "max": 5, "cpuUtilization": 70}})["HorizontalPodAutoscaler"]["spec"]
    must("autoscaling", (scaler["minReplicas"], scaler["maxReplicas"]) == (4, 5)
         and scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 70)
    must("a tag", container({"image": {"repository": "r/p", "tag": "2", "pullPolicy": "Always"}})["image"] == "r/p:2")
    must("a pull policy", container({"image": {"pullPolicy": "Always"}})["imagePullPolicy"] == "Always")
    digest = "sha256:" + "0" * 64
    must("a digest is the image", container({"image": {"digest": digest}})["image"] == f"pointsman@{digest}")
    must("imagePullSecrets", pod({"imagePullSecrets": [{"name": "registry"}]})["imagePullSecrets"] == [{"name": "registry"}])
    must("the default number of workers", not any(word.startswith("--workers") for word in container({"workers": 0})["args"]))
    must("workers", "--workers=4" in container({"workers": 4})["args"])
    drain = pod({"drain": {"delay": 5, "deadline": 7}})
    must("drain", drain["terminationGracePeriodSeconds"] == 22 and "--drain-delay=5s" in drain["containers"][0]["args"]
         and "--drain-deadline=7s" in drain["containers"][0]["args"])
    arguments = container({"extraArgs": ["--hand-over-patience=20s"]})["args"]
    must("extraArgs", arguments[-1] == "--hand-over-patience=20s")
    extra.append(arguments)
    must("routes", render({"routes": "schema = 1\n"})["ConfigMap"]["data"]["routes.toml"].strip() == "schema = 1")
    mine = render({"existingConfigMap": "mine"})
    must("no ConfigMap with existingConfigMap", "ConfigMap" not in mine
         and mine["Deployment"]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == "mine")
    ports = [{"name": "h2c", "containerPort": 8081, "servicePort": 81, "appProtocol": "kubernetes.io/h2c"}]
    ported = render({"ports": ports, "adminPort": 9901})
    must("ports", ported["Service"]["spec"]["ports"] == [
        {"name": "h2c", "port": 81, "targetPort": "h2c", "appProtocol": "kubernetes.io/h2c"}])
    must("adminPort", {"name": "admin", "containerPort": 9901} in
         ported["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"])
    cluster = render({"service": {"type": "ClusterIP", "annotations": {"a": "b"}}})["Service"]
    must("ClusterIP", cluster["spec"]["type"] == "ClusterIP" and "externalTrafficPolicy" not in cluster["spec"]
         and cluster["metadata"]["annotations"] == {"a": "b"})
    balancer = render({"service": {"loadBalancerClass": "example.com/lb", "loadBalancerSourceRanges": ["10.0.0.0/8"],
                                   "externalTrafficPolicy": "Cluster"}})["Service"]["spec"]
    must("a load balancer", (balancer["loadBalancerClass"], balancer["loadBalancerSourceRanges"],
                             balancer["externalTrafficPolicy"]) == ("example.com/lb", ["10.0.0.0/8"], "Cluster"))
    made = render({"serviceAccount": {"create": True, "annotations": {"a": "b"}}})
    must("a service account", made["ServiceAccount"]["metadata"]["name"] == "edge-pointsman"
         and made["ServiceAccount"]["metadata"]["annotations"] == {"a": "b"}
         and made["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "edge-pointsman")
    named = render({"serviceAccount": {"name": "mine"}})
    must("an existing service account", "ServiceAccount" not in named
         and named["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "mine")
    must("extraEnv", {"name": "CANARY", "value": "5"} in container({"extraEnv": [{"name": "CANARY", "value": "5"}]})["env"])
    openshift = pod({"podSecurityContext": {"runAsUser": None, "fsGroup": 7}})["securityContext"]
    must("a key of the security context with null is left out",
         "runAsUser" not in openshift and openshift["fsGroup"] == 7 and openshift["runAsNonRoot"])
    must("securityContext", container({"securityContext": {"readOnlyRootFilesystem": False}})["securityContext"]
         ["readOnlyRootFilesystem"] is False)
    must("no security context", "securityContext" not in pod({"podSecurityContext": None}))
    must("resources", container({"resources": {"limits": {"cpu": "3"}}})["resources"]["limits"]["cpu"] == "3")
    must("no PodDisruptionBudget", "PodDisruptionBudget" not in render({"podDisruptionBudget": {"enabled": False}}))
    must("maxUnavailable", render({"podDisruptionBudget": {"maxUnavailable": "50%"}})["PodDisruptionBudget"]["spec"]
         ["maxUnavailable"] == "50%")
    must("no NetworkPolicy", "NetworkPolicy" not in render({"networkPolicy": {"enabled": False}}))
    policy = render({"networkPolicy": {"adminFrom": []}})["NetworkPolicy"]["spec"]
    must("no access to the admin port", policy["ingress"] == [{"ports": [{"port": "http"}]}])
    must("no annotations", "annotations" not in deployment({"podAnnotations": None})["template"]["metadata"])
    placed = {"nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"key": "edge", "operator": "Exists"}],
              "priorityClassName": "system-cluster-critical",
              "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                  {"matchExpressions": [{"key": "edge", "operator": "Exists"}]}]}}}}
    where = pod(placed)
    must("placement", all(where[key] == value for key, value in placed.items()))
    must("podLabels", deployment({"podLabels": {"team": "edge"}})["template"]["metadata"]["labels"]["team"] == "edge")
    volume = [{"name": "geo", "emptyDir": {}}]
    mount = [{"name": "geo", "mountPath": "/etc/geo"}]
    more = pod({"extraVolumes": volume, "extraVolumeMounts": mount})
    must("extraVolumes", volume[0] in more["volumes"] and mount[0] in more["containers"][0]["volumeMounts"])
    stateful(render)
    watched(render)


def stateful(render):
    """The state folder on claims, and tokens from a Secret."""
    found = render({"persistence": {"enabled": True}})
    of_kubernetes(found, "the chart with persistence", "StatefulSet")
    [claim] = found["StatefulSet"]["spec"]["volumeClaimTemplates"]
    must("the default class of the cluster", "storageClassName" not in claim["spec"])
    plain = render({})
    must("both workloads have the same pods", without_state(plain["Deployment"]) == without_state(found["StatefulSet"]))
    values = {"enabled": True, "size": "3Gi", "storageClass": "fast", "accessMode": "ReadWriteOncePod"}
    found = render({"persistence": values, "autoscaling": {"enabled": False}, "replicas": 2})
    [claim] = found["StatefulSet"]["spec"]["volumeClaimTemplates"]
    must("persistence", claim["spec"] == {"accessModes": ["ReadWriteOncePod"], "storageClassName": "fast",
                                         "resources": {"requests": {"storage": "3Gi"}}})
    must("replicas of the StatefulSet", found["StatefulSet"]["spec"]["replicas"] == 2)
    routes = 'schema = 1\n[admin]\ntokens = "/etc/pointsman-admin/admin-tokens.toml"\n'
    found = render({"adminTokens": {"existingSecret": "mine"}, "routes": routes})
    pod = found["Deployment"]["spec"]["template"]["spec"]
    must("adminTokens", {"name": "admin-tokens", "secret": {"secretName": "mine", "defaultMode": 0o440}} in pod["volumes"]
         and {"name": "admin-tokens", "mountPath": "/etc/pointsman-admin", "readOnly": True}
         in pod["containers"][0]["volumeMounts"])
    endpoint = render({"podMonitor": {"enabled": True, "tokenSecret": {"name": "mine", "key": "t"}}})["PodMonitor"]
    must("a token for Prometheus", endpoint["spec"]["podMetricsEndpoints"][0]["authorization"] == {
        "credentials": {"name": "mine", "key": "t"}})


def without_state(workload):
    pod = json.loads(json.dumps(workload["spec"]["template"]))
    pod["spec"]["volumes"] = [volume for volume in pod["spec"]["volumes"] if volume["name"] != "state"]
    return pod


def watched(render):
    """The objects for the Prometheus Operator: the admin port with the job of the alerts, and the alerts."""
    must("no objects of the operator by default", not {"PodMonitor", "PrometheusRule"} & set(render({})))
    found = render({"podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "p"}},
                    "prometheusRule": {"enabled": True, "labels": {"release": "q"}, "runbookBase": "https://git.example.org/edge/"}})
    monitor, rule = found["PodMonitor"], found["PrometheusRule"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    must("the PodMonitor selects the pods", monitor["spec"]["selector"]["matchLabels"].items() <= labels.items())
    must("the PodMonitor's endpoint", monitor["spec"]["podMetricsEndpoints"] == [{
        "port": "admin", "path": "/metrics", "interval": "30s",
        "relabelings": [{"targetLabel": "job", "replacement": "pointsman"}]}])
    must("labels for the operator", monitor["metadata"]["labels"]["release"] == "p" and rule["metadata"]["labels"]["release"] == "q")
    alerts = yaml.safe_load((deploy / "prometheus" / "alerts.yml").read_text().replace(RUNBOOKS, "https://git.example.org/edge"))
    must("the PrometheusRule has the alerts and the given runbook", rule["spec"] == alerts)
    text = json.dumps(rule["spec"])
    must("no placeholder is left", "runbooks.example.com" not in text and "https://git.example.org/edge/docs/operations.md#" in text)
    (scratch / "rule.yml").write_text(yaml.safe_dump(rule["spec"]))


def notes(render):
    [text] = [text for name, text in render({}).items() if name.endswith("NOTES.txt")]
    for command in ["exec deployment/edge-pointsman -- /usr/local/bin/pointsman status\n",
                    "port-forward deployment/edge-pointsman 9900 ", "annotate pod -l app.kubernetes.io/instance=edge ",
                    "/usr/local/bin/pointsman kill --variant ROUTE:VARIANT", "Kills outlive the container, not the pod"]:
        must(f"the notes have `{command}`: {text}", command in text)
    must(f"no warning by default: {text}", "WARNING" not in text)
    [text] = [text for name, text in render({"persistence": {"enabled": True}}).items() if name.endswith("NOTES.txt")]
    must(f"the notes name the StatefulSet: {text}", "exec statefulset/edge-pointsman -- " in text and "not the pod" not in text)
    [text] = [text for name, text in render({"routes": "schema = 1\n"}).items() if name.endswith("NOTES.txt")]
    must(f"the notes warn of routes without a state folder: {text}", "WARNING: the routes have no `[state]`" in text)
    [text] = [text for name, text in render({"adminPort": 9901}).items() if name.endswith("NOTES.txt")]
    must(f"the notes have the admin port: {text}", "status --admin http://127.0.0.1:9901\n" in text)


def examples(path, objects):
    """The values files of the examples."""
    values = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((path / "examples").glob("*.yaml"))}
    must("there are examples", set(values) == {"openshift", "operators", "tls"})
    openshift = objects(values["openshift"], "the example openshift")["Deployment"]["spec"]["template"]["spec"]
    must("OpenShift chooses the user", openshift["securityContext"] == {
        "runAsNonRoot": True, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}})
    found = objects(values["operators"], "the example operators")
    of_state(found, "the example operators", "StatefulSet")
    routes = found["ConfigMap"]["data"]["routes.toml"]
    mounted = {mount["name"]: mount["mountPath"] for mount in found["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
               ["volumeMounts"]}
    must("the routes name the tokens of the Secret", f'tokens  = "{mounted["admin-tokens"]}/admin-tokens.toml"' in routes)
    must("Prometheus has a token", "authorization" in found["PodMonitor"]["spec"]["podMetricsEndpoints"][0])
    # `pointsman check` reads the file; the caller creates it.
    (scratch / "operators.toml").write_text(routes.replace(mounted["admin-tokens"], str(scratch.resolve() / "edge-tokens")))
    found = objects(values["tls"], "the example tls")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    must("all volumes are mounted", {volume["name"] for volume in pod["volumes"]} ==
         {mount["name"] for mount in pod["containers"][0]["volumeMounts"]})
    must("the TLS port", [port["containerPort"] for port in pod["containers"][0]["ports"]] == [8443, 9900])
    routes = found["ConfigMap"]["data"]["routes.toml"]
    must("the routes name the certificates' folder", '"/etc/edge-tls/tls.crt"' in routes and ':8443"' in routes)
    # `pointsman check` reads the files; the caller creates them.
    (scratch / "tls.toml").write_text(routes.replace("/etc/edge-tls", str(scratch.resolve() / "edge-tls")))


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
        must(f"Compose: {name} could write or has rights",
             service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"].startswith("65532"))
        for volume in service["volumes"]:
            must(f"Compose: {volume} is a folder or a volume",
                 (deploy / volume.split(":")[0]).is_dir() or volume.split(":")[0] in thing["volumes"])
        command = service["command"]
        must(f"Compose: {command[1]} is there", (deploy / "compose" / Path(command[1]).name).is_file())
        arguments.append(command)
    proxy = thing["services"]["pointsman"]
    command = proxy["command"]
    drain = [int(command[command.index(flag) + 1].rstrip("s")) for flag in ["--drain-delay", "--drain-deadline"]]
    must("Compose: stop_grace_period", int(proxy["stop_grace_period"].rstrip("s")) > sum(drain) + 2)
    # The health check of the image and `exec` use the loopback address of the container.
    routes = (deploy / "compose" / "routes.toml").read_text()
    must("Compose: the admin listener's address", 'address = "127.0.0.1:9900"' in routes and "healthcheck" not in proxy)
    must("Compose: the state outlives the container", "state:/var/lib/pointsman" in proxy["volumes"]
         and 'dir = "/var/lib/pointsman"' in routes)
    must("Compose: the admin port is not published", proxy["ports"] == ["8080:8080"])
    must("Compose: no network with a fixed address range", "networks" not in thing)
    return arguments


def container():
    """The build context has the copied files, and the toolchain is that of the project."""
    text = (deploy / "container" / "Dockerfile").read_text()
    channel = re.search(r'channel = "(.+)"', (deploy.parent / "rust-toolchain.toml").read_text())[1]
    must(f"the image builds with Rust {channel}", f"rust:{channel}-slim" in text)
    allowed = [line[1:] for line in (deploy.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in line.split()[:-1]:
            must(f"{source} is in the build's context", (deploy.parent / source).exists() and source in allowed)


def dashboard():
    """Panels do not overlap; the queries become rules, for promtool and a real Prometheus."""
    thing = json.loads((deploy / "grafana" / "pointsman.json").read_text())
    variables = {variable["name"] for variable in thing["templating"]["list"]} | {"__rate_interval", "__interval", "__all"}
    ids, taken, queries = set(), {}, []
    for panel in thing["panels"]:
        must(f"two panels have the id {panel['id']}", panel["id"] not in ids)
        ids.add(panel["id"])
        place = panel["gridPos"]
        must(f"{panel['title']} is wider than the page", place["x"] + place["w"] <= 24)
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if cell in taken:
                sys.exit(f"FAILED: {panel['title']} overlaps {taken[cell]}")
            taken[cell] = panel["title"]
        queries += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    queries += [("annotations", annotation["expr"]) for annotation in thing["annotations"]["list"]]
    for title, query in queries:
        unknown = set(re.findall(r"\$\{?(\w+)", query)) - variables
        must(f"{title}: unknown variables {unknown}", not unknown)
    plain = [(title, re.sub(r"\$\{?(\w+)\}?", lambda found: "10s" if "interval" in found[1] else ".*", query)) for title, query in queries]
    rules = [{"record": f"panel:{number}", "expr": query} for number, (_, query) in enumerate(plain)]
    (scratch / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    (scratch / "queries.json").write_text(json.dumps(plain))
    must("a dashboard has panels", len(plain) > 30)


def scrape():
    """Debian's promtool has no Kubernetes discovery: it gets the job with static addresses."""
    thing = yaml.safe_load((deploy / "prometheus" / "scrape-kubernetes.yml").read_text())
    [job] = thing["scrape_configs"]
    [discovery] = job.pop("kubernetes_sd_configs")
    must("pods are discovered", discovery == {"role": "pod"})
    job["static_configs"] = [{"targets": ["127.0.0.1:9900"]}]
    (scratch / "scrape-pods.yml").write_text(yaml.safe_dump(thing))


extra = []
plain, rendered = kubernetes(), chart()
compare(plain, rendered)
routes, arguments = of_kubernetes(plain, "deploy/kubernetes")
(scratch / "kubernetes.toml").write_text(routes)
chart_routes, chart_arguments = of_kubernetes(rendered, "the chart")
(scratch / "chart.toml").write_text(chart_routes)
lists = [arguments, chart_arguments, *extra, *compose()]
(scratch / "arguments").write_text("".join(" ".join(words) + "\n" for words in lists))
container()
dashboard()
scrape()
print(f"{passed} checks of the manifests passed")
