"""The proxies of `bench/failover`, each configured as its documentation advises for endpoints that fail.

All have the same limits: 1 s to connect, 250 ms for a try, and a balance that prefers the endpoint with fewer requests
in flight. All but nginx, which has no active checks, ask `/health` of each endpoint once a second: three bad answers in
a row take it out, two good ones bring it back. POST is not tried again after it was sent.
"""

import json

from . import peers

PER_TRY_MS = 250


def pointsman(proxy: peers.Proxy) -> str:
    endpoints = ", ".join(f'"http://127.0.0.1:{port}"' for port in proxy.ports.values())
    return f"""schema = 1
[[listener]]
address = "127.0.0.1:{proxy.port}"
[admin]
address = "127.0.0.1:{proxy.admin_port}"
[access_log]
sink = "off"
[upstream.shop]
endpoints = [{endpoints}]
health = {{ path = "/health", interval = "1s", timeout = "{PER_TRY_MS}ms", healthy = 2, unhealthy = 3 }}
[[route]]
name = "shop"
match = {{ path = "/*" }}
stable = "shop"
timeout = {{ per_try = "{PER_TRY_MS}ms" }}
"""


def haproxy(proxy: peers.Proxy) -> str:
    check = "check inter 1s fall 3 rise 2 observe layer7 error-limit 5 on-error mark-down"
    servers = "\n  ".join(f"server s{name} 127.0.0.1:{port} {check}" for name, port in proxy.ports.items())
    return f"""
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 1s
  timeout server {PER_TRY_MS}ms
  timeout check {PER_TRY_MS}ms
  timeout client 60s
  timeout http-keep-alive 60s
frontend edge
  bind 127.0.0.1:{proxy.port} backlog 8192
  default_backend shop
backend shop
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 502 503 504
  http-request disable-l7-retry if METH_POST
  option httpchk GET /health
  {servers}
"""


def envoy(proxy: peers.Proxy) -> str:
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    others = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

    def action(retry_on: str) -> dict:
        return {
            "cluster": "shop",
            "retry_policy": {
                "retry_on": retry_on, "num_retries": 1, "per_try_timeout": f"{PER_TRY_MS / 1000}s",
                "retry_host_predicate": [{"name": "others", "typed_config": {"@type": others}}],
                "host_selection_retry_max_attempts": 5,
            },
        }

    post = {"name": ":method", "string_match": {"exact": "POST"}}
    routes = [
        {"match": {"prefix": "/", "headers": [post]}, "route": action("connect-failure,refused-stream")},
        {"match": {"prefix": "/"}, "route": action("5xx,reset,connect-failure,refused-stream")},
    ]
    http = {
        "@type": manager, "stat_prefix": "edge", "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    endpoints = [{"endpoint": {"address": peers.socket_address(port)}} for port in proxy.ports.values()]
    most = 8192
    shop = {
        "name": "shop", "type": "STATIC", "connect_timeout": "1s", "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [
            # Its default of three retries at once, for all requests, is for much smaller loads.
            {"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most}
        ]},
        "outlier_detection": {
            "consecutive_5xx": 5, "split_external_local_origin_errors": True, "consecutive_local_origin_failure": 5,
            "interval": "1s", "base_ejection_time": "30s", "max_ejection_percent": 50,
        },
        "health_checks": [{
            "interval": "1s", "timeout": f"{PER_TRY_MS / 1000}s", "healthy_threshold": 2, "unhealthy_threshold": 3,
            "no_traffic_interval": "1s", "http_health_check": {"path": "/health"},
        }],
        "load_assignment": {"cluster_name": "shop", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    listener = {
        "name": "edge", "address": peers.socket_address(proxy.port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [shop]}}, indent=1)


def nginx(proxy: peers.Proxy) -> str:
    servers = "\n    ".join(
        f"server 127.0.0.1:{port} max_fails=5 fail_timeout=30s;" for port in proxy.ports.values()
    )
    return f"""
daemon off; worker_processes 1; pid {proxy.folder}/nginx.pid; error_log {proxy.folder}/nginx.log crit; user root;
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  {peers.temporary(proxy.folder, "nginx")}
  upstream shop {{
    least_conn;
    {servers}
    keepalive 256; keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{proxy.port} backlog=8192;
    location / {{
      proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_connect_timeout 1s; proxy_send_timeout {PER_TRY_MS}ms; proxy_read_timeout {PER_TRY_MS}ms;
      proxy_next_upstream error timeout http_502 http_503 http_504; proxy_next_upstream_tries 2;
    }}
  }}
}}
"""
