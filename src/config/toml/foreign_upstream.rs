//! Keys of other proxies in the tables of upstreams and rate limits, and the keys to use instead.

use super::foreign_meaning::ForeignEntry;
use super::foreign_meaning::Meaning::{self, Elsewhere, Key, KeyWithHelp};

const ROUTE_RETRY: Meaning = Elsewhere("write `retry = { attempts = 1 }` in the `[[route]]`");
const OUTLIER: Meaning =
    KeyWithHelp("outlier", "write `outlier = { consecutive_failures = 5, base_ejection = \"30s\" }`");
const HEALTH: Meaning = KeyWithHelp("health", "write `health = { path = \"/healthz\", interval = \"5s\" }`");
const WINDOW: Meaning = Elsewhere("the window is 10 s and cannot be changed");

/// The words of each table, by its title.
pub(in crate::config) const UPSTREAM_WORDS: &[(&str, &[ForeignEntry])] = &[
    (
        "[upstream.NAME.outlier]",
        &[
            ("consecutive_5xx consecutive_gateway_failure consecutive_errors failures", Key("consecutive_failures")),
            ("max_fails max_failures fall error_limit", Key("consecutive_failures")), // nginx, HAProxy
            ("base_ejection_time ejection_time fail_timeout", Key("base_ejection")),
            ("max_ejection_percent", Key("max_ejected_percent")),
            ("failure_percentage failure_percentage_threshold", Key("failure_percent")),
            ("panic_threshold healthy_panic_threshold", Key("panic_percent")),
            ("max_ejection_time", Elsewhere("an ejection takes at most 300 s: this cannot be changed")),
            ("interval window", WINDOW),
            (
                "enabled disabled off",
                KeyWithHelp("consecutive_failures", "write `consecutive_failures = 0` to turn ejection off"),
            ),
        ],
    ),
    (
        "[upstream.NAME.retry_budget]",
        &[
            ("percent percentage budget_percent budget", KeyWithHelp("ratio", "write `ratio = 0.2` for 20 %")),
            ("min_retries min_retry_concurrency min_retries_per_second minretriespersecond min", Key("min_per_second")),
            ("ttl interval window", WINDOW),
        ],
    ),
    (
        "[upstream.NAME.limits]",
        &[
            ("max_connections max_conns maxconn", Key("connections")),
            ("max_requests max_concurrent_requests", Key("requests")),
            ("max_pending max_pending_requests queue maxqueue", Key("pending")), // Envoy, HAProxy
            ("max_retries", Elsewhere("write `[upstream.NAME.retry_budget]`")),
        ],
    ),
    (
        "[upstream.NAME]",
        &[
            ("server servers url urls to address addresses host hosts", Key("endpoints")),
            ("target targets node nodes backend backends port upstream", Key("endpoints")), // HAProxy
            ("lb_policy policy algorithm lb strategy loadbalancer load_balancer", Key("balance")),
            ("timeout connecttimeout connect", Key("connect_timeout")),
            (
                "maxconn max_connections max_conns keepalive pool",
                KeyWithHelp("limits", "write `limits = { connections = 1024 }`"),
            ),
            (
                "weight weights",
                Elsewhere("each endpoint can have a weight: `endpoints = [{ url = \"http://…\", weight = 2 }]`"),
            ),
            ("name", Elsewhere("the name is in the brackets: `[upstream.NAME]`")),
            ("version tag", Key("revision")),
            ("sticky path rewrite headers", Elsewhere("write it in a `[[route]]`")),
            (
                "max_pending max_pending_requests pending queue",
                KeyWithHelp("limits", "write `limits = { pending = 128 }`"),
            ),
            ("outlier_detection passive passive_health max_fails fail_timeout", OUTLIER), // Envoy, Caddy, nginx
            (
                "circuit_breaker circuit_breakers circuitbreaker",
                KeyWithHelp(
                    "limits",
                    "write `limits = { connections = 1024, pending = 128 }`, and `outlier` for ejection",
                ),
            ),
            ("retries retry retry_policy num_retries retry_on proxy_next_upstream", ROUTE_RETRY),
            ("retrybudget", Key("retry_budget")),
            ("healthcheck health_check health_checks check httpchk active_health active", HEALTH),
            ("slowstart slow_start_window slow_start_config warmup", Key("slow_start")), // HAProxy, Envoy
            (
                "discovery service_discovery eds consul kubernetes dns_discovery",
                KeyWithHelp("endpoints", "a discovery writes a file: `endpoints = { file = \"endpoints/NAME.txt\" }`"),
            ),
        ],
    ),
    (
        "an endpoint",
        &[
            ("address host server target to", Key("url")),
            ("standby spare secondary", Key("backup")),
            ("down disabled draining drained disable", Key("drain")),
        ],
    ),
    ("endpoints in a file", &[("path filename", Key("file"))]),
    (
        "[upstream.NAME.health]",
        &[
            ("uri url http http_path httppath endpoint", Key("path")), // HAProxy, Envoy
            ("inter period every check_interval", Key("interval")),
            ("timeout_ms check_timeout", Key("timeout")),
            ("rise healthy_threshold healthythreshold success_threshold passes", Key("healthy")), // HAProxy, Envoy
            ("fall unhealthy_threshold unhealthythreshold failure_threshold fails", Key("unhealthy")),
            ("status statuses expected_statuses expect_status codes match", Key("expect")),
            ("hostname authority", Key("host")),
            ("header hdr request_headers_to_add", Key("headers")),
            ("service_name", Key("service")),
            (
                "grpc_health_check grpc_check mode",
                KeyWithHelp("grpc", "write `grpc = true`, `tcp = true` or `path = \"/healthz\"`"),
            ),
            ("method", Elsewhere("a check over HTTP is a `GET`: this cannot be changed")),
            (
                "interval_jitter jitter interval_jitter_percent",
                Elsewhere("the interval varies by a tenth: this cannot be changed"),
            ),
            ("scheme tls", Elsewhere("a check uses the protocol and the TLS settings of the endpoint")),
            ("follow_redirects followredirects", Elsewhere("a redirect is not followed: write its status in `expect`")),
        ],
    ),
    (
        "[[route.rate_limit]]",
        &[
            ("average requests requests_per_unit limit max tokens_per_fill", Key("rate")), // Traefik, Envoy
            ("max_tokens", Key("burst")),
            ("by key source_criterion sourcecriterion descriptor zone", Key("per")),
            (
                "unit period interval window fill_interval",
                KeyWithHelp("rate", "write the unit in `rate`, such as `rate = \"6000/min\"`"),
            ),
            ("unless exempt skip allow", Key("except")),
            ("shadow shadow_mode log_only dryrun report_only", Key("dry_run")),
            ("code status_code", Key("status")),
        ],
    ),
    ("priority", &[("precedence value rank", Key("order")), ("shed shedding class", Key("load"))]),
];
