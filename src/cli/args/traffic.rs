//! The traffic that a rollout is planned or rehearsed with: measured by a running proxy, or given.

use std::time::Duration;

use clap::Args;

use crate::config;

/// The highest rate of a route, in requests a second.
const RATE_MAX: f64 = 1e7;
/// The most distinct callers.
const CALLERS_MAX: u64 = 1_000_000_000;

/// Traffic that is given in place of the measured one.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct TrafficArguments {
    /// Rates: of all routes, and of single ones.
    #[arg(long = "rate", value_name = "[ROUTE=]N", value_parser = rate)]
    #[arg(help = "Requests a second of each route of the rollout, or of one; may be repeated [default: as measured]")]
    pub rates: Vec<RateArgument>,
    /// Distinct callers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CALLERS_MAX))]
    #[arg(help = "Distinct callers of each route in an hour [default: as measured]")]
    pub callers: Option<u64>,
    /// Stable's errors, as a share from 0 to 1.
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    #[arg(help = "Errors of stable, such as 0.1% of its requests [default: as measured]")]
    pub errors: Option<f64>,
    /// Stable's p99.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[arg(help = "The time that one in 100 responses of stable exceeds, such as 80ms [default: as measured]")]
    pub p99: Option<Duration>,
}

/// A rate of `--rate`.
#[derive(Clone, Debug, PartialEq)]
pub struct RateArgument {
    /// The route; `None`: each that has no rate of its own.
    pub route: Option<String>,
    /// Requests a second.
    pub per_second: f64,
}

impl TrafficArguments {
    /// The rate of a route, in requests a second: its own, else that of all. Of two the last one counts.
    #[must_use]
    pub fn rate_of(&self, route: &str) -> Option<f64> {
        let own = self.rates.iter().rfind(|one| one.route.as_deref() == Some(route));
        own.or_else(|| self.rates.iter().rfind(|one| one.route.is_none())).map(|one| one.per_second)
    }

    /// The first route that has a rate and is none of these.
    #[must_use]
    pub fn unknown_route(&self, routes: &[&str]) -> Option<&str> {
        self.rates.iter().filter_map(|one| one.route.as_deref()).find(|route| !routes.contains(route))
    }

    /// Whether nothing is to be measured.
    #[must_use]
    pub fn is_complete(&self, routes: &[&str]) -> bool {
        let is_rated = routes.iter().all(|route| self.rate_of(route).is_some());
        is_rated && self.callers.is_some() && self.errors.is_some() && self.p99.is_some()
    }
}

/// `200`, or `checkout=200`. A route's name may have `=` in it: the last one counts.
fn rate(text: &str) -> Result<RateArgument, String> {
    let (route, number) = match text.rsplit_once('=') {
        Some((route, number)) => (Some(route), number),
        None => (None, text),
    };
    let known = number.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0 && *rate <= RATE_MAX);
    let per_second = known.filter(|_| route.is_none_or(|route| !route.is_empty()));
    let per_second = per_second.ok_or("write requests a second, such as 200, or of one route: checkout=200")?;
    Ok(RateArgument { route: route.map(str::to_owned), per_second })
}

fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    let share = number.map(|percent: f64| percent / 100.0).filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "write a percentage from 0% to below 100%, such as 0.1%".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = config::parse_duration(text).filter(|time| !time.is_zero());
    read.ok_or_else(|| "write a duration above zero, such as 80ms or 1s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_its_own_rate_or_that_of_all() {
        let rates = ["50", "checkout=200", "100", "a=b=7.5"].map(|text| rate(text).unwrap());
        let traffic = TrafficArguments { rates: rates.into(), ..TrafficArguments::default() };
        let of = |route: &str| traffic.rate_of(route).map(f64::to_bits);
        assert_eq!(of("checkout"), Some(200.0_f64.to_bits()));
        assert_eq!((of("cart"), of("a=b")), (Some(100.0_f64.to_bits()), Some(7.5_f64.to_bits())));
        assert_eq!(traffic.unknown_route(&["checkout", "cart"]), Some("a=b"));
        assert_eq!(traffic.unknown_route(&["checkout", "a=b"]), None);
        assert!(!traffic.is_complete(&["cart"]));
        let rest =
            TrafficArguments { callers: Some(9), errors: Some(0.0), p99: Some(Duration::from_millis(80)), ..traffic };
        assert!(rest.is_complete(&["cart"]));
        assert!(!TrafficArguments { rates: vec![rate("x=1").unwrap()], ..rest }.is_complete(&["cart"]));
    }

    #[test]
    fn wrong_figures_are_refused() {
        for wrong in ["", "=5", "checkout=", "0", "-1", "nan", "inf", "1e9", "5/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0.1", "100%", "-1%", "%", "nan%", "one%"] {
            assert!(percentage(wrong).is_err(), "{wrong}");
        }
        assert!(percentage("0.1%").is_ok_and(|share| (share - 0.001).abs() < 1e-12));
        assert!(duration("80ms").is_ok() && duration("0s").is_err() && duration("80").is_err());
    }
}
