//! Tests of the room as a whole, and what they build routes from.

mod changes;
mod decision;
mod explained;
mod lookup;
mod replayed;
mod shadow;
mod shares;

use http::{HeaderMap, Method};

use super::*;

/// A request without body, to be asked about.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
}

impl Ask {
    pub(super) fn get(host: &str, path: &str) -> Self {
        Self { method: Method::GET, host: host.into(), path: path.into(), query: None, headers: HeaderMap::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub(super) fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            client_cert: None,
            listener: "edge",
        }
    }
}

/// A pattern as the file writes it.
pub(super) fn host(text: &str) -> HostPattern {
    match text.strip_prefix('*') {
        Some(suffix) => HostPattern::Wildcard(suffix.into()),
        None => HostPattern::Exact(text.into()),
    }
}

/// A pattern as the file writes it; `~` begins a regex.
pub(super) fn path(text: &str) -> PathPattern {
    match (text.strip_prefix('~'), text.strip_suffix("/*")) {
        (Some(regex), _) => PathPattern::Regex(regex::Regex::new(regex).unwrap()),
        (None, Some(prefix)) => PathPattern::Prefix(prefix.into()),
        (None, None) => PathPattern::Exact(text.into()),
    }
}

/// A route for one host (`""`: any) and one path (`""`: any).
pub(super) fn route(name: &str, on: &str, at: &str) -> Route {
    Route {
        name: name.into(),
        place: Place { file: "routes.toml".into(), line: 1 },
        matches: Match {
            hosts: if on.is_empty() { vec![] } else { vec![host(on)] },
            paths: if at.is_empty() { vec![] } else { vec![path(at)] },
            ..Match::default()
        },
        action: Action::Split(split(name, &[])),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        timeouts: Timeouts::default(),
        limits: RouteLimits::default(),
    }
}

/// Stable and these further variants, with weights in millionths; sticky by tenant.
pub(super) fn split(salt: &str, arms: &[(&str, u32)]) -> Split {
    let mut start = 0;
    let mut variants = vec![];
    for (name, millionths) in arms {
        let weight = Weight::from_millionths(*millionths).unwrap();
        variants.push(Variant {
            name: (*name).into(),
            upstream: UpstreamId(1),
            weight,
            start,
            killed: false,
            rescue: Rescue::Connect,
        });
        start += millionths;
    }
    let weight = Weight::from_millionths(BUCKETS - start).unwrap();
    variants.insert(
        0,
        Variant {
            name: "stable".into(),
            upstream: UpstreamId(0),
            weight,
            start,
            killed: false,
            rescue: Rescue::Connect,
        },
    );
    Split {
        variants,
        sticky: vec![StickyKey::Tenant],
        sticky_cookie: None,
        salt: Salt::new(salt),
        targets: vec![],
        killed: false,
        rewrite: Rewrite::default(),
        shadow: None,
    }
}

/// Rules with these routes and two upstreams.
pub(super) fn rules(routes: Vec<Route>) -> Rules {
    let upstream = |name: &str| Upstream {
        name: name.into(),
        revision: None,
        endpoints: vec![],
        balance: Balance::default(),
        connect_timeout: std::time::Duration::from_secs(1),
        tls: None,
        limits: UpstreamLimits::default(),
        proxy_protocol: None,
    };
    Rules {
        listeners: vec![],
        admin: vec!["127.0.0.1:9900".parse().unwrap()],
        state_dir: "state".into(),
        identity: Identity { tenant: vec![Extractor::Query("tenant".into())], ..Identity::default() },
        segments: vec![],
        upstreams: vec![upstream("v1"), upstream("v2")],
        index: Index::new(&routes),
        routes,
        kill: Kill::default(),
        access_log: AccessLog::default(),
        dns: Dns::default(),
        traces: None,
        masks: Masks::default(),
    }
}

/// A caller with this tenant.
pub(super) fn caller(tenant: Option<&str>) -> Caller<'_> {
    Caller {
        client_ip: "192.0.2.1".parse().unwrap(),
        trusted: false,
        tenant: tenant.map(std::borrow::Cow::Borrowed),
        user: None,
        facts: Facts::default(),
    }
}
