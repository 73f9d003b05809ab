//! Keys of other proxies, by the table in which users write them, and the keys to use instead.

use super::foreign_meaning::ForeignEntry;
use super::foreign_meaning::Meaning::{self, Elsewhere, Key, KeyWithHelp, Unsupported};
use super::foreign_rollout::ROLLOUT_WORDS;
use super::foreign_upstream::UPSTREAM_WORDS;

const UPSTREAM: Meaning = Elsewhere("write `[upstream.NAME]` with `endpoints = [\"http://host:port\"]`");
const LISTENER: Meaning = KeyWithHelp("listener", "write `[[listener]]` with `address = \"0.0.0.0:8080\"`");
const ROUTE: Meaning =
    Elsewhere("write `[[route]]` with `name`, `match = { path = \"/x/*\" }` and `stable = \"UPSTREAM\"`");
const TLS: Meaning =
    Elsewhere("TLS is configured per listener: write `[listener.tls]` with `certificates = [\"certs/\"]`");
const EDITS: Meaning =
    Elsewhere("write `[route.headers]` with `request = { set = { NAME = \"…\" } }`, or `response = { … }`");
const HOST: Meaning = Elsewhere("write `match = { host = \"shop.example.com\" }`");
const PATH: Meaning =
    Elsewhere("write `match = { path = \"/x/*\" }` for /x and all paths below it, or `path = \"/x\"`");
const REWRITE: Meaning =
    Elsewhere("write `rewrite = { prefix = \"/\" }`, which replaces the prefix that `match.path` matches");
const LOG: Meaning = Elsewhere(
    "the environment variable `POINTSMAN_LOG` sets the log level, such as `POINTSMAN_LOG=debug`; `[access_log]` is for \
     requests",
);
const SPLIT: Meaning = Elsewhere("write `canary = { upstream = \"…\", weight = 5 }`; `stable` gets the rest");
const ROLLOUT: Meaning =
    Elsewhere("write `canary = { upstream = \"…\", rollout = \"NAME\" }`, and the plan in `[rollout.NAME]`");
const GUARD: Meaning = KeyWithHelp(
    "guard",
    "write `guard = \"rollback\"`, which stops a variant that is worse than stable, or `[[route.guard]]` tables",
);
const NO_WINDOW: &str = "a guard looks at its evidence ten times a second: it needs no window and no number of checks";
const NOTIFY: Meaning = KeyWithHelp("notify", "write `[notify]` with `to = [\"slack:https://…\"]`");
const TARGETS: Meaning = Elsewhere("write `[[route.target]]`, which gives an audience a variant");
const PAIR: Meaning =
    KeyWithHelp("certificates", "write `certificates = [{ cert = \"….pem\", key = \"….key\" }]`, or a directory");
const ADMIN_TLS: Meaning = KeyWithHelp("tls", "write `tls = { certificates = [\"certs/\"] }`");
const TOKEN: Meaning = KeyWithHelp(
    "sha256",
    "a token never stands in the tokens file in plain text: `pointsman token new NAME --role operator` prints a new token \
     once, and its lines for the file",
);
const BY_LISTENER: Meaning = KeyWithHelp(
    "listener",
    "write `listener = \"NAME\"`, the `name` of the `[[listener]]` that receives these requests",
);
const RETRY: Meaning = KeyWithHelp("retry", "write `retry = { attempts = 1 }`: further tries after the first one");
const BREAKER: Meaning = Elsewhere(
    "write `limits = { connections = 1024, pending = 128 }` in `[upstream.NAME]`, and `outlier` to eject endpoints that fail",
);
const PER_TRY: Meaning = Elsewhere("write `timeout = { per_try = \"2s\" }` in the `[[route]]`");
const ROUTE_HEALTH: Meaning = Elsewhere("write `health = { path = \"/healthz\" }` in `[upstream.NAME]`");
const RATE_LIMIT: Meaning =
    KeyWithHelp("rate_limit", "write `[[route.rate_limit]]`, and below it `per = \"client_ip\"` and `rate = 100`");
const DENY: Meaning = Elsewhere(
    "write `[[route.target]]`, and below it `cidr = [\"10.0.0.0/8\"]` and `respond = { status = 403 }`; or with \
     `not = { cidr = [\"…\"] }` for all others",
);
const URL: Meaning = KeyWithHelp(
    "stable",
    "a route refers to an upstream: write `stable = \"NAME\"` here, and the URL in `[upstream.NAME]` as `endpoints`",
);

/// Words for both tables of variants.
const VARIANT: &[ForeignEntry] = &[
    ("percent percentage share traffic ratio", Key("weight")),
    ("service to stable target endpoints url backend cluster", Key("upstream")), // Traefik
    ("match header cookie tenant user segment", TARGETS),
];

/// The words of each table, by its title; `*` means every table.
const WORDS: &[(&str, &[ForeignEntry])] = &[
    (
        "",
        &[
            ("service services servers load_balancer loadbalancer", UPSTREAM),
            ("backend backends cluster clusters", UPSTREAM), // HAProxy, Traefik, Envoy
            ("entrypoint entrypoints entry_points listen bind port address frontend server", LISTENER), // Traefik
            ("router routers location locations rule rules reverse_proxy handle virtual_hosts", ROUTE),
            (
                "http tcp static_resources",
                Elsewhere("`[[listener]]`, `[upstream.NAME]` and `[[route]]` are at the top level"),
            ),
            ("tls ssl certificates certs https", TLS),
            ("accesslog", Key("access_log")),
            ("log logs logging", LOG),
            ("tracing opentelemetry otlp", Key("traces")),
            (
                "metrics prometheus api ping dashboard stats",
                Elsewhere("the admin listener always provides it: see `[admin]`"),
            ),
            ("audience audiences", Elsewhere("write `[segment.NAME]`")),
            ("defaults global globals", Elsewhere("there are no global defaults: every key has a default of its own")),
            ("middleware middlewares filters plugins acme certificates_resolvers certificatesresolvers", Unsupported),
            ("alerts alerting notifications notification receivers alertmanager slack webhook webhooks", NOTIFY),
            ("tests goldens", Key("test")),
            ("version", Key("schema")),
        ],
    ),
    (
        "[[route]]",
        &[
            ("upstream upstreams service services server servers default destination", Key("stable")),
            ("backend backends cluster clusters origin primary forward", Key("stable")), // HAProxy, Envoy
            ("proxy_pass reverse_proxy to url urls proxy endpoints endpoint address", URL),
            ("rule rules matcher when matches matchers", Key("match")),
            ("host hosts domain domains hostname hostnames server_name", HOST),
            ("path paths prefix location uri path_prefix pathprefix", PATH),
            ("method methods", Elsewhere("write `match = { methods = [\"GET\"] }`")),
            ("header query cookie grpc listener", Elsewhere("write it in `[route.match]`, or in a `[[route.target]]`")),
            ("entrypoint entrypoints entry_points listeners", Elsewhere("write `match = { listener = \"NAME\" }`")),
            ("tenant user segment segments cidr country jwt", TARGETS),
            ("weight weights split percent traffic traffic_split weighted", SPLIT),
            ("kill killed", Elsewhere("write `[kill]` at the top of the file, with `routes = [\"NAME\"]`")),
            (
                "rescue",
                Elsewhere("`rescue` is a key of a variant: write it in `[route.canary]` or `[[route.variant]]`"),
            ),
            ("mirror mirrors mirroring request_mirror", Key("shadow")),
            ("rollout rollouts stages", ROLLOUT),
            ("guards analysis alarms checks rollback auto_rollback", GUARD), // Flagger, Argo Rollouts
            ("affinity sticky_session sticky_sessions session_affinity", Key("sticky")),
            ("set_header add_header proxy_set_header request_headers response_headers header_up", EDITS),
            ("strip_prefix stripprefix strip_path add_prefix replace_path prefix_rewrite", REWRITE),
            (
                "status body return response direct_response",
                KeyWithHelp("respond", "write `respond = { status = 404, body = \"…\" }`"),
            ),
            (
                "redirect_to permanent redir",
                KeyWithHelp("redirect", "write `redirect = { to = \"https://{host}{path}{query}\" }`"),
            ),
            ("websocket websockets upgrade", Elsewhere("write `limits = { upgrade = [\"websocket\"] }`")),
            (
                "max_body max_body_size client_max_body_size body_limit",
                Elsewhere("write `limits = { body = \"10MiB\" }`"),
            ),
            ("tls ssl certificates", TLS),
            ("retries num_retries max_retries maxretries retry_on retry_policy retrypolicy attempts tries", RETRY),
            ("proxy_next_upstream proxy_next_upstream_tries redispatch", RETRY), // nginx, HAProxy
            ("per_try per_try_timeout", PER_TRY),
            (
                "outlier outlier_detection max_fails fail_timeout",
                Elsewhere("write it in `[upstream.NAME]`, as `outlier`"),
            ),
            ("circuit_breaker circuit_breakers circuitbreaker", BREAKER),
            ("rate_limits ratelimit ratelimits limit throttle limit_req stick_table local_ratelimit", RATE_LIMIT),
            ("rate average burst requests_per_second", RATE_LIMIT), // Traefik, Envoy
            ("allow deny block ip_allow ipallow ipallowlist ip_allowlist acl rbac", DENY),
            ("auth basic_auth basicauth", Unsupported),
            ("forward_auth forwardauth oauth compress compression encode gzip cors cache", Unsupported),
            ("health health_check healthcheck health_checks check", ROUTE_HEALTH),
            ("waf", Unsupported),
            ("middleware middlewares filters plugins schedule", Unsupported),
        ],
    ),
    (
        "[route.match]",
        &[
            ("hosts hostname hostnames domain domains server_name authority", Key("host")),
            ("prefix paths uri path_prefix pathprefix location regex path_regexp", Key("path")),
            ("port entrypoint entrypoints entry_points scheme protocol", BY_LISTENER),
            (
                "rule rules",
                Elsewhere("each condition has its own key: `host`, `path`, `methods`, `header`, `query`, `cookie`"),
            ),
            ("tenant user segment cidr country jwt client_ip client_cert", TARGETS),
        ],
    ),
    ("[route.canary]", VARIANT),
    ("[[route.variant]]", VARIANT),
    (
        "[[route.target]]",
        &[
            ("variant to upstream stable then use", Key("serve")),
            ("percent percentage share", Key("weight")),
            ("ip client_ip network ips source_range sourcerange", Key("cidr")),
            ("deny block reject forbid status", KeyWithHelp("respond", "write `respond = { status = 403 }`")),
            ("geoip geo countries", Key("country")),
        ],
    ),
    (
        "[[route.guard]]",
        &[
            ("guard", KeyWithHelp("act", "each guard says what follows: `act = \"warn\"` or `\"rollback\"`")),
            ("action on_trip then", Key("act")),
            ("signal event events metrics template_ref query", Key("metric")), // Flagger
            ("threshold threshold_range max limit maximum bound", Key("above")), // Flagger, Argo Rollouts
            ("ratio factor times worse_than compare compare_to", Key("worse_than_stable")),
            ("significance confidence p_value error_probability", Key("alpha")),
            ("arm canary target", Key("variant")),
            ("interval window for over every count failure_limit consecutive", Elsewhere(NO_WINDOW)),
        ],
    ),
    (
        "[route.shadow]",
        &[
            ("percent percentage share sample", Key("weight")),
            ("service to target backend cluster", Key("upstream")), // Traefik
        ],
    ),
    (
        "[route.redirect]",
        &[
            ("url location target destination", Key("to")),
            ("code status_code", Key("status")),
            ("permanent", KeyWithHelp("status", "write `status = 308`")),
        ],
    ),
    ("[route.respond]", &[("code status_code", Key("status")), ("text content message", Key("body"))]),
    (
        "[route.headers]",
        &[("set add remove", EDITS), ("up req upstream", Key("request")), ("down resp client", Key("response"))],
    ),
    (
        "[route.rewrite]",
        &[("path strip_prefix strip prefix_rewrite uri", Key("prefix")), ("replace replacement with", Key("to"))],
    ),
    (
        "[route.timeout]",
        &[
            ("connect connect_timeout", Elsewhere("write `connect_timeout = \"1s\"` in `[upstream.NAME]`")),
            ("read write send", Key("idle")),
            ("total response timeout backend", Key("request")), // HAProxy
            ("per_try_timeout pertry try attempt", Key("per_try")),
        ],
    ),
    (
        "[route.limits]",
        &[
            ("body_size max_body max_body_size client_max_body_size body_bytes", Key("body")),
            ("websocket websockets", KeyWithHelp("upgrade", "write `upgrade = [\"websocket\"]`")),
        ],
    ),
    (
        "[route.retry]",
        &[
            ("num_retries max_retries maxretries retries retry tries count limit", Key("attempts")), // Envoy, Traefik
            ("retry_on retryon conditions codes status statuses status_codes retriable_status_codes", Key("on")),
            ("method non_idempotent", Key("methods")),
            ("buffer body max_body max_request_body_bytes maxrequestbodybytes", Key("body_buffer")),
            ("per_try per_try_timeout timeout", PER_TRY),
            ("budget retry_budget ratio min_per_second", Elsewhere("write `[upstream.NAME.retry_budget]`")),
            (
                "backoff back_off retry_back_off interval initial_interval initialinterval",
                Elsewhere(
                    "the delay before a further try is random, up to 25 ms, then up to 250 ms: it cannot be changed",
                ),
            ),
        ],
    ),
    (
        "[[listener]]",
        &[
            ("listen bind port addr host ip on", KeyWithHelp("address", "write `address = \"0.0.0.0:8080\"`")),
            (
                "cert certs certificate certificates key ssl https",
                KeyWithHelp("tls", "write `tls = { certificates = [\"certs/\"] }`"),
            ),
            ("http2 h2 protocol protocols", Elsewhere("remove it: every listener serves HTTP/1.1 and HTTP/2")),
            ("http3 quic unix socket", Unsupported),
            (
                "route routes match",
                Elsewhere("write `[[route]]` at the top level, with `match = { listener = \"NAME\" }`"),
            ),
            (
                "timeout timeouts keepalive keep_alive",
                KeyWithHelp("limits", "write `limits = { idle_timeout = \"60s\" }`"),
            ),
            ("proxyprotocol proxy", Key("proxy_protocol")),
        ],
    ),
    (
        "[listener.tls]",
        &[
            ("cert key cert_file key_file crt ssl_certificate certfile", PAIR),
            ("ca client_ca mtls clientauth", KeyWithHelp("client_auth", "write `client_auth = { ca = \"….pem\" }`")),
            ("acme letsencrypt certresolver cert_resolver auto", Unsupported),
        ],
    ),
    (
        "[admin.tls]",
        &[
            ("cert key cert_file key_file crt ssl_certificate certfile", PAIR),
            ("ca client_ca mtls clientauth", KeyWithHelp("client_auth", "write `client_auth = { ca = \"….pem\" }`")),
        ],
    ),
    (
        "[admin]",
        &[
            ("listen bind port addr host", KeyWithHelp("address", "write `address = \"127.0.0.1:9900\"`")),
            (
                "token auth password users basic_auth",
                KeyWithHelp("tokens", "write `tokens = \"certs/admin-tokens.toml\"`"),
            ),
            ("cert certs certificate certificates ssl https", ADMIN_TLS),
            ("unix unix_socket socket_path", Key("socket")),
            ("group", Key("socket_group")),
            ("operators", Key("socket_operators")),
            ("hostname hostnames allowed_hosts server_name domain domains", Key("hosts")),
            ("grafana_url grafana_base dashboards", Key("grafana")),
            (
                "dashboard ui",
                Elsewhere("the dashboard is always on: open the address of the admin listener in a browser"),
            ),
            (
                "enabled enable off disabled",
                Elsewhere("the admin listener is always on, on an address that is not public"),
            ),
        ],
    ),
    ("[access_log]", &[("path file output to filepath", Key("sink"))]),
    ("[identity]", &[("trusted trusted_ips trust proxies forwarded_headers", Key("trusted_proxies"))]),
    (
        "[kill]",
        &[
            ("route", Key("routes")),
            ("variant", Key("variants")),
            ("shadow mirror mirrors", Key("shadows")),
            ("rollout", Key("rollouts")),
            ("tenant", Key("tenants")),
        ],
    ),
    (
        "[[token]]",
        &[
            ("token secret value password plain plaintext bearer key", TOKEN),
            ("hash digest sha sha_256 sha256sum", Key("sha256")),
            ("role permissions scopes", Key("roles")),
            ("user id", Key("name")),
            ("expiry expire expires_at expiration until valid_until not_after", Key("expires")),
        ],
    ),
    ("*", &[("level log_level loglevel", LOG), ("comment description note", Elsewhere("write a comment: `# …`"))]),
];

/// The meaning of a word in the table with this title.
pub(in crate::config) fn meaning(title: &str, word: &str) -> Option<Meaning> {
    if word.len() > 40 {
        return None;
    }
    let plain = word.replace('-', "_").to_ascii_lowercase();
    let tables =
        WORDS.iter().chain(ROLLOUT_WORDS).chain(UPSTREAM_WORDS).filter(|(known, _)| *known == title || *known == "*");
    let mut entries = tables.flat_map(|(_, entries)| *entries);
    entries.find(|(words, _)| words.split(' ').any(|known| known == plain)).map(|(_, meaning)| *meaning)
}

/// Help for any other word in the table with this title.
pub(in crate::config) fn default_help(title: &str) -> Option<&'static str> {
    match EDITS {
        Elsewhere(help) if title == "[route.headers]" => Some(help),
        Elsewhere(_) | Key(_) | KeyWithHelp(..) | Unsupported => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_proxies_have_a_meaning() {
        for (title, word, expected) in [
            ("[[route]]", "upstream", Some(Key("stable"))),
            ("[[route]]", "proxy-pass", Some(URL)),
            ("[[route]]", "entryPoints", Some(Elsewhere("write `match = { listener = \"NAME\" }`"))),
            ("[[route]]", "compress", Some(Unsupported)),
            ("[upstream.NAME]", "servers", Some(Key("endpoints"))),
            ("", "entryPoints", Some(LISTENER)),
            ("[kill]", "description", Some(Elsewhere("write a comment: `# …`"))),
            ("[[route]]", "colour", None),
            ("[kill]", "upstream", None),
        ] {
            assert_eq!(meaning(title, word), expected, "{title} {word}");
        }
    }

    #[test]
    fn no_word_is_listed_twice_in_a_table() {
        let mut seen = std::collections::BTreeSet::new();
        for (title, entries) in WORDS.iter().chain(ROLLOUT_WORDS).chain(UPSTREAM_WORDS) {
            for word in entries.iter().flat_map(|(words, _)| words.split(' ')) {
                assert!(seen.insert((title, word)), "{title} {word}");
                assert_eq!(word, word.to_ascii_lowercase().replace('-', "_"), "{title}");
            }
        }
    }
}
