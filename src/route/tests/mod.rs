//! Tests of the room as a whole, and what they build routes from.

mod called_kills;
mod changes;
mod decision;
mod explained;
mod failures;
mod lookup;
mod overlay;
mod replayed;
mod route_pairs;
mod shadow;
mod shares;

use std::ops::{Deref, DerefMut};

use http::{HeaderName, Method};

use super::*;
use crate::fields::Fields;

/// A request without body, to explain.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) fields: Fields,
}

impl Ask {
    pub(super) fn get(host: &str, path: &str) -> Self {
        Self { method: Method::GET, host: host.into(), path: path.into(), query: None, fields: Fields::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.append(&HeaderName::from_static(name), &value.parse().unwrap());
        self
    }

    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            fields: &self.fields,
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
    let place = SourceLocation { file: "routes.toml".into(), line: 1 };
    let spec = RouteSpec {
        name: name.into(),
        matches: Match {
            hosts: if on.is_empty() { vec![] } else { vec![host(on)] },
            paths: if at.is_empty() { vec![] } else { vec![path(at)] },
            ..Match::default()
        },
        action: Action::Split(split(name, &[]).split),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        timeouts: Timeouts::default(),
        retry: RetryPolicy::default(),
        limits: RouteLimits::default(),
        access: Box::default(),
        rate_limits: Box::default(),
        load: LoadPriority::Normal,
    };
    Route::new(place, spec)
}

/// A split and its current state.
#[derive(Clone, Debug)]
pub(super) struct Arms {
    pub(super) split: Split,
    pub(super) state: SplitState,
}

impl Deref for Arms {
    type Target = Split;

    fn deref(&self) -> &Split {
        &self.split
    }
}

impl DerefMut for Arms {
    fn deref_mut(&mut self) -> &mut Split {
        &mut self.split
    }
}

/// A configuration file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) rules: Rules,
    pub(super) overlay: Overlay,
}

impl Deref for File {
    type Target = Rules;

    fn deref(&self) -> &Rules {
        &self.rules
    }
}

impl DerefMut for File {
    fn deref_mut(&mut self) -> &mut Rules {
        &mut self.rules
    }
}

impl File {
    pub(super) const fn effective(&self) -> EffectiveConfig<'_> {
        EffectiveConfig { rules: &self.rules, overlay: &self.overlay }
    }

    /// The split of the first route.
    pub(super) fn first(&mut self) -> &mut Split {
        match &mut self.rules.routes[0].action {
            Action::Split(split) => split,
            Action::Redirect(_) | Action::Respond(_) => unreachable!("it is a split"),
        }
    }

    /// The same with another state of the first route.
    pub(super) fn having(mut self, edit: impl FnOnce(&mut SplitState)) -> Self {
        let mut states = self.states();
        edit(&mut states[0]);
        self.overlay = Overlay::new(self.overlay.kill().clone(), states);
        self
    }

    /// The routes in reverse order.
    pub(super) fn reverse(&mut self) {
        let mut states = self.states();
        states.reverse();
        self.rules.routes.reverse();
        self.overlay = Overlay::new(self.overlay.kill().clone(), states);
    }

    fn states(&self) -> Vec<SplitState> {
        self.rules.numbered().map(|(id, _)| self.overlay.split(id).clone()).collect()
    }

    /// The same with everything killed.
    pub(super) fn all_killed(mut self) -> Self {
        self.overlay = self.overlay.with_kill(Kill { all: true, ..Kill::default() });
        self
    }
}

/// Stable and these further variants, with weights in millionths; sticky by tenant.
pub(super) fn split(salt: &str, arms: &[(&str, u32)]) -> Arms {
    let variant = |name: &str, upstream| Variant { name: name.into(), upstream, rescue: Rescue::default() };
    let stable = variant("stable", UpstreamId(0));
    let others = arms.iter().map(|(name, _)| variant(name, UpstreamId(1)));
    let weights: Vec<_> = arms.iter().map(|(_, millionths)| Weight::from_millionths(*millionths).unwrap()).collect();
    let split = Split {
        variants: std::iter::once(stable).chain(others).collect(),
        sticky: vec![StickyKey::Tenant],
        sticky_cookie: None,
        salt: Salt::new(salt),
        targets: vec![],
        rewrite: Rewrite::default(),
        shadow: None,
        guards: Box::default(),
        rollout: None,
    };
    Arms { split, state: SplitState::new(&weights).unwrap() }
}

/// A file with these routes, the first of which has these variants. The others have but stable.
pub(super) fn file(mut routes: Vec<Route>, arms: Arms) -> File {
    let mut states = vec![SplitState::new(&[]).unwrap(); routes.len()];
    if let (Some(first), Some(state)) = (routes.first_mut(), states.first_mut()) {
        (first.action, *state) = (Action::Split(arms.split), arms.state);
    }
    File { rules: rules(routes), overlay: Overlay::new(Kill::default(), states) }
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
        slow_start: std::time::Duration::ZERO,
        outlier: OutlierSettings::default(),
        health: None,
        retry_budget: RetryBudgetSettings::default(),
        proxy_protocol: None,
    };
    Rules {
        listeners: vec![],
        admin: AdminSpec { addresses: vec!["127.0.0.1:9900".parse().unwrap()], ..AdminSpec::default() },
        state: StateSpec { dir: "state".into() },
        identity: Identity { tenant: vec![Extractor::Query("tenant".into())], ..Identity::default() },
        segments: vec![],
        upstreams: vec![upstream("v1"), upstream("v2")],
        index: Index::new(&routes),
        routes,
        access_log: AccessLog::default(),
        dns: Dns::default(),
        traces: None,
        rollouts: Vec::new(),
        freeze: Vec::new(),
        prometheus: None,
        notify: Notify::default(),
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
