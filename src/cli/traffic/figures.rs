//! The figures of a rollout's traffic, each with where it is from: what was given, else what was measured, else what is
//! assumed.

use std::fmt;
use std::time::Duration;

use super::measured::{MeasuredFigure, ProxyRoute, ProxyTraffic};
use crate::cli::args::TrafficArguments;
use crate::rehearsal::{RolloutTraffic, RouteTraffic};
use crate::route::{Rollout, Rules};

/// Requests of a caller in an hour, where nothing says how many callers there are.
const REQUESTS_PER_CALLER: f64 = 20.0;
/// The share of stable's requests that fail, where nothing says it.
const ERRORS: f64 = 0.001;

/// The traffic of a rollout, and where its figures are from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownTraffic {
    /// The traffic.
    pub traffic: RolloutTraffic,
    /// Its figures, route by route.
    pub figures: Vec<TrafficFigure>,
}

/// A figure for people.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficFigure {
    /// The route.
    pub route: String,
    /// What it is about, such as `requests a second`.
    pub what: &'static str,
    /// The figure with its unit.
    pub value: String,
    /// Where it is from.
    pub source: FigureSource,
}

/// Where a figure is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FigureSource {
    /// The command line.
    Given,
    /// A proxy, with the time that the figure is about, such as `over 5 min`.
    Measured(String),
    /// Neither, and why.
    Assumed(&'static str),
}

/// The figures without which nothing can be expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingFigures {
    /// `--rate` names a route that the rollout does not have.
    UnknownRoute {
        /// The route.
        route: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The rates of these routes.
    Rates(Vec<String>),
}

impl KnownTraffic {
    /// Whether nothing is assumed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.figures.iter().any(|figure| matches!(figure.source, FigureSource::Assumed(_)))
    }
}

impl fmt::Display for FigureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("given"),
            Self::Measured(over) => write!(f, "measured {over}"),
            Self::Assumed(why) => write!(f, "assumed: {why}"),
        }
    }
}

impl fmt::Display for MissingFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRoute { route, known } => {
                write!(f, "--rate names route `{route}`; the rollout has {}", known.join(", "))
            }
            Self::Rates(routes) => write!(f, "the rate of route {} is not known", routes.join(", ")),
        }
    }
}

/// The traffic of a rollout: what was given, else what the proxy has measured, else what is assumed.
///
/// # Errors
/// A route has no rate, or `--rate` names a route that the rollout does not have.
pub fn known_traffic(
    given: &TrafficArguments,
    measured: Option<&ProxyTraffic>,
    rules: &Rules,
    rollout: &Rollout,
) -> Result<KnownTraffic, MissingFigures> {
    let routes: Vec<_> =
        rollout.members.iter().filter_map(|member| rules.routes.get(member.route.0 as usize)).collect();
    let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    if let Some(route) = given.unknown_route(&names) {
        let known = names.iter().map(|name| (*name).to_owned()).collect();
        return Err(MissingFigures::UnknownRoute { route: route.to_owned(), known });
    }
    let (mut known, mut unrated) = (KnownTraffic::default(), Vec::new());
    for route in routes {
        let none = ProxyRoute::default();
        let measured = measured.and_then(|measured| measured.routes.get(&route.name)).unwrap_or(&none);
        let is_sticky = route.split().is_some_and(|split| !split.sticky.is_empty());
        let found = RouteFigures { given, measured, is_sticky }.of(&route.name);
        match found {
            Some((traffic, figures)) => {
                known.traffic.routes.push(traffic);
                known.figures.extend(figures);
            }
            None => unrated.push(route.name.clone()),
        }
    }
    if unrated.is_empty() { Ok(known) } else { Err(MissingFigures::Rates(unrated)) }
}

struct RouteFigures<'a> {
    given: &'a TrafficArguments,
    measured: &'a ProxyRoute,
    is_sticky: bool,
}

/// A number, and where it is from.
struct Sourced {
    value: f64,
    source: FigureSource,
}

impl RouteFigures<'_> {
    /// The traffic of a route with its figures; `None` without a rate.
    fn of(&self, route: &str) -> Option<(RouteTraffic, Vec<TrafficFigure>)> {
        let rate = first(self.given.rate_of(route), self.measured.rate.as_ref())?;
        let callers = self.callers(rate.value);
        let errors = first(self.given.errors, self.measured.errors.as_ref())
            .unwrap_or(Sourced { value: ERRORS, source: FigureSource::Assumed("nothing was measured") });
        let given_ms = self.given.p99.map(|p99| p99.as_secs_f64() * 1e3);
        let p99 = first(given_ms, self.measured.p99_ms.as_ref());
        let traffic = RouteTraffic {
            route: route.to_owned(),
            rate: rate.value,
            callers: whole(callers.value),
            errors: errors.value.clamp(0.0, 1.0),
            p99: p99.as_ref().map(|p99| Duration::from_secs_f64(p99.value.max(0.0) / 1e3)),
        };
        let figure = |what: &'static str, value: String, source: FigureSource| TrafficFigure {
            route: route.to_owned(),
            what,
            value,
            source,
        };
        let mut figures = vec![
            figure("requests a second", plain(rate.value), rate.source),
            figure("distinct callers in an hour", whole(callers.value).to_string(), callers.source),
            figure("errors of stable", format!("{} %", plain(errors.value * 100.0)), errors.source),
        ];
        figures.push(match p99 {
            Some(p99) => figure("p99 of stable", format!("{} ms", plain(p99.value)), p99.source),
            None => figure("p99 of stable", "not known".to_owned(), FigureSource::Assumed("no response was timed")),
        });
        Some((traffic, figures))
    }

    fn callers(&self, rate: f64) -> Sourced {
        #[expect(clippy::cast_precision_loss, reason = "callers are far below 2^53")]
        let given = self.given.callers.map(|callers| callers as f64);
        if let Some(known) = first(given, self.measured.callers.as_ref()) {
            return known;
        }
        let requests = rate * 3_600.0;
        if self.is_sticky {
            let source = FigureSource::Assumed("each sends 20 requests in an hour");
            Sourced { value: (requests / REQUESTS_PER_CALLER).max(1.0), source }
        } else {
            let source = FigureSource::Assumed("without `sticky` each request is a caller of its own");
            Sourced { value: requests.max(1.0), source }
        }
    }
}

fn first(given: Option<f64>, measured: Option<&MeasuredFigure>) -> Option<Sourced> {
    let given = given.map(|value| Sourced { value, source: FigureSource::Given });
    given.or_else(|| {
        let MeasuredFigure { value, over } = measured?;
        Some(Sourced { value: *value, source: FigureSource::Measured(over.clone()) })
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count within bounds")]
fn whole(count: f64) -> u64 {
    count.round().clamp(1.0, 1e15) as u64
}

/// A number with three significant digits at least, without trailing zeros.
fn plain(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::RateArgument;
    use crate::config::load_text;

    const FILE: &str = "\
schema = 1
[[listener]]
address = '127.0.0.1:0'
[upstream.a1]
endpoints = ['http://10.0.0.1:1']
[upstream.a2]
endpoints = ['http://10.0.0.2:1']
revision = 'R'
[[rollout.both.stage]]
name = 'half'
weight = 50
[[route]]
name = 'a'
match = { path = '/a/*' }
sticky = ['client_ip']
stable = 'a1'
canary = { upstream = 'a2', rollout = 'both' }
[[route]]
name = 'b'
match = { path = '/b/*' }
sticky = []
stable = 'a1'
canary = { upstream = 'a2', rollout = 'both' }
";

    fn known(given: &TrafficArguments, measured: Option<&ProxyTraffic>) -> Result<KnownTraffic, MissingFigures> {
        let rules = load_text("routes.toml", FILE, &|_| None).unwrap().rules;
        known_traffic(given, measured, &rules, &rules.rollouts[0])
    }

    fn rates(all: &[(Option<&str>, f64)]) -> TrafficArguments {
        let rate =
            |(route, rate): &(Option<&str>, f64)| RateArgument { route: route.map(str::to_owned), per_second: *rate };
        TrafficArguments { rates: all.iter().map(rate).collect(), ..TrafficArguments::default() }
    }

    #[test]
    fn a_given_figure_comes_before_a_measured_one_and_that_before_an_assumption() {
        let figure = |value: f64| Some(MeasuredFigure { value, over: "over 5 min".to_owned() });
        let route = ProxyRoute { rate: figure(201.3), callers: figure(5_000.0), errors: figure(0.002), p99_ms: None };
        let measured = ProxyTraffic { routes: [("a".to_owned(), route)].into(), ..ProxyTraffic::default() };
        let found = known(&rates(&[(Some("b"), 0.5)]), Some(&measured)).unwrap();
        let [a, b] = &found.traffic.routes[..] else { panic!("{found:?}") };
        assert_eq!((a.callers, b.callers, a.p99), (5_000, 1_800, None));
        assert!((a.errors - 0.002).abs() < 1e-12 && (b.errors - ERRORS).abs() < 1e-12, "{found:?}");
        let shown: Vec<String> = found
            .figures
            .iter()
            .map(|one| format!("{} {} {}: {}", one.route, one.value, one.what, one.source))
            .collect();
        assert_eq!(shown[0], "a 201 requests a second: measured over 5 min");
        assert_eq!(shown[2], "a 0.2 % errors of stable: measured over 5 min");
        assert_eq!(shown[4], "b 0.5 requests a second: given");
        assert!(shown[5].ends_with("each request is a caller of its own"), "{shown:#?}");
        let given = TrafficArguments { callers: Some(7), errors: Some(0.5), ..rates(&[(None, 40.0)]) };
        let found = known(&given, Some(&measured)).unwrap();
        assert!(found.traffic.routes.iter().all(|one| one.callers == 7 && (one.errors - 0.5).abs() < 1e-12));
        let found = known(&rates(&[(None, 200.0)]), None).unwrap();
        let p99 = Some(Duration::from_millis(80));
        let all = TrafficArguments { callers: Some(7), errors: Some(0.5), p99, ..rates(&[(None, 40.0)]) };
        assert!(known(&all, None).unwrap().is_complete() && !found.is_complete());
        assert_eq!(found.traffic.routes[0].callers, 36_000);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(known(&rates(&[(Some("a"), 5.0)]), None), Err(MissingFigures::Rates(vec!["b".to_owned()])));
        let unknown = known(&rates(&[(Some("c"), 5.0), (None, 1.0)]), None).unwrap_err();
        assert_eq!(unknown.to_string(), "--rate names route `c`; the rollout has a, b");
    }
}
