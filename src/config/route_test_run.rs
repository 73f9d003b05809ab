//! Runs the tests of a configuration with the code that routes requests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::load::Loaded;
use super::tables::route_test::{NO_SHADOW, RouteTest, TestExpectation, What};
use super::toml::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::identity::IdentityProviders;
use crate::route::{
    Action, Caller, Decision, EffectiveConfig, EncodedSlash, Facts, Identity, NoTrace, Reason, RequestHead, Route,
    Routed, Rules, SamplingInput, SourceLocation, Spread, Weight, access, at_stages, decide, normal_host, normal_path,
};

/// The result of a request.
#[derive(Default)]
struct TestResult<'r> {
    route: Option<&'r Route>,
    decision: Option<Decision>,
    status: Option<u16>,
    /// The place of the target that answers.
    answered_by: Option<SourceLocation>,
    /// The upstream that can get a copy.
    copied: Option<String>,
}

/// The result of all tests.
#[derive(Debug, Default)]
pub struct RouteTestRun {
    /// The number of failed tests.
    pub failed: usize,
    /// An error for each result that is not the expected one.
    pub diagnostics: Diagnostics,
}

impl fmt::Display for RouteTestRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostics.fmt(f)
    }
}

/// Runs all tests of a configuration. `[kill]` is off, so that a kill does not make tests of routes fail; it is on for
/// tests that expect `reason = "kill"`.
#[must_use]
pub fn run_route_tests(loaded: &Loaded) -> RouteTestRun {
    let mut run = RouteTestRun::default();
    let unkilled = loaded.overlay.unkilled();
    for test in &loaded.tests {
        let unkilled = unkilled.as_ref().filter(|_| !test.expects_kill());
        let overlay = unkilled.unwrap_or(&loaded.overlay);
        let config = EffectiveConfig { rules: &loaded.rules, overlay };
        let staged = (!test.stages.is_empty()).then(|| at_stages(config, &test.stages));
        let config = EffectiveConfig { overlay: staged.as_ref().unwrap_or(overlay), ..config };
        let got = test.run(config, &loaded.identity_providers);
        let before = run.diagnostics.errors();
        for expected in &test.expected {
            let found = got.describe(expected.what, config.rules);
            if found.as_deref().is_some_and(|found| expected.is(found)) || !run.diagnostics.count(Severity::Error) {
                continue;
            }
            let mut failure = test.failure(expected, found.as_deref(), &got);
            if unkilled.is_some() {
                let help = failure.help.get_or_insert_default();
                help.push_str("\ntests run with `[kill]` off, unless they expect `reason = \"kill\"`");
            }
            run.diagnostics.keep(failure);
        }
        run.failed += usize::from(run.diagnostics.errors() > before);
    }
    debug_assert!(run.failed <= loaded.tests.len(), "a test fails once");
    run
}

impl TestExpectation {
    /// Whether the result is the expected one.
    fn is(&self, found: &str) -> bool {
        found == self.value || self.names.iter().any(|name| name == found)
    }
}

impl RouteTest {
    /// Whether the test runs with `[kill]` on.
    fn expects_kill(&self) -> bool {
        self.expected.iter().any(|expected| expected.what == What::Reason && expected.value == Reason::Kill.name())
    }

    fn run<'r>(&self, config: EffectiveConfig<'r>, identity_providers: &IdentityProviders) -> TestResult<'r> {
        let EffectiveConfig { rules, overlay } = config;
        let refused = TestResult { status: Some(400), ..TestResult::default() };
        let Ok(path) = normal_path(&self.path, EncodedSlash::Keep) else { return refused };
        let host = if self.host.is_empty() { Some("".into()) } else { normal_host(&self.host) };
        let Some(host) = host else { return refused };
        let (method, query) = (&self.method, self.query.as_deref());
        let usual = || rules.default_listener().map(|listener| listener.name.as_str());
        let listener = self.listener.as_deref().or_else(usual).unwrap_or_default();
        let fields = &self.fields;
        let head = RequestHead { method, host: &host, path: &path, query, fields, client_cert: None, listener };
        let Some(lookup) = rules.index.find(&rules.routes, &head) else {
            return TestResult { status: Some(404), ..TestResult::default() };
        };
        let route = rules.route(lookup.route);
        let answered = |status: http::StatusCode, by| {
            let status = Some(status.as_u16());
            TestResult { route: Some(route), decision: None, status, answered_by: by, copied: None }
        };
        let caller = self.caller(rules, &head, identity_providers);
        if let Some((at, respond)) = access(&route.access, &head, &caller, &rules.segments) {
            return answered(respond.status, route.access.get(at).map(|rule| route.place_of(rule.line)));
        }
        let split = match &route.action {
            Action::Split(split) => split,
            Action::Redirect(redirect) => return answered(redirect.status, None),
            Action::Respond(respond) => return answered(respond.status, None),
        };
        let request = Routed { route: lookup.route, split, head: &head, caller: &caller, cookie_identity: None };
        let decision = decide(rules, overlay, &request, &mut Spread::default(), &mut NoTrace);
        let share = split.shadow.as_ref().map(|shadow| shadow.weight).unwrap_or_default();
        let (route_id, variant) = (lookup.route, decision.variant);
        let (method, caller) = (head.method, &caller);
        let request = SamplingInput { route: route_id, method, variant, caller, cookie_identity: None, share };
        let copied = split.copied(config, &request, &[]).filter(|copied| copied.chance > Weight::ZERO);
        let copied = copied.map(|copied| copied.upstream);
        TestResult { route: Some(route), decision: Some(decision), copied, ..TestResult::default() }
    }

    fn caller<'h>(
        &'h self,
        rules: &Rules,
        head: &'h RequestHead<'h>,
        identity_providers: &IdentityProviders,
    ) -> Caller<'h> {
        let peer = self.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut identity: Identity = rules.identity.clone();
        if self.peer.is_none() {
            identity.trusted_proxies.push(peer.into());
        }
        let country = self.country.or_else(|| identity_providers.country(self.client_ip.unwrap_or(peer)));
        let facts = Facts { claims: self.claims.as_ref(), country, fault: None };
        let mut caller = identity.caller(peer, head, facts);
        if let Some(client_ip) = self.client_ip.filter(|_| caller.trusted) {
            caller.client_ip = client_ip;
        }
        caller
    }

    fn failure(&self, expected: &TestExpectation, found: Option<&str>, got: &TestResult<'_>) -> Diagnostic {
        let noun = expected.what.noun();
        let message = match found {
            Some(found) => format!("expected {noun} `{}`, got `{found}`", expected.shown),
            None => format!("expected {noun} `{}`, got none", expected.shown),
        };
        let help = match (got.route, got.decision.as_ref().map(|decision| decision.reason)) {
            (Some(route), Some(reason)) => {
                let place = &route.place;
                format!("route `{}` ({}:{}) decided by {}", route.name, place.file, place.line, reason.name())
            }
            (Some(route), None) => match &got.answered_by {
                Some(place) => format!("a target of route `{}` ({}:{}) answers", route.name, place.file, place.line),
                None => format!("route `{}` answers without an upstream", route.name),
            },
            (None, _) => "no route matches this request".to_owned(),
        };
        Diagnostic {
            severity: Severity::Error,
            code: "golden-failed",
            message,
            labels: vec![expected.at.clone(), self.at.clone()],
            help: Some(help),
            fails_check: false,
            order: (0, 0),
        }
    }
}

impl TestResult<'_> {
    fn describe(&self, what: What, rules: &Rules) -> Option<String> {
        let split = self.route.and_then(Route::split);
        let variant = || split.zip(self.decision.as_ref()).map(|(s, d)| &s.variants[usize::from(d.variant.0)]);
        match what {
            What::Route => self.route.map(|route| route.name.clone()),
            What::Variant => variant().map(|variant| variant.name.clone()),
            What::Upstream => variant().map(|variant| rules.upstreams[variant.upstream.0 as usize].name.clone()),
            What::Shadow => Some(self.copied.clone().unwrap_or_else(|| NO_SHADOW.to_owned())),
            What::Reason => self.decision.as_ref().map(|decision| Reason::name(decision.reason).to_owned()),
            What::Status => self.status.map(|status| status.to_string()),
        }
    }
}
