//! The differences of the rate limits of a route, as text.

use super::equivalence::ConfigPair;
use crate::route::{LoadPriority, RateLimit, RateLimitMode, Route, Rules};

/// The changes of the rate limits and of the load priority of a route.
pub(super) fn limit_changes(pair: &ConfigPair<'_>, [old, new]: [&Route; 2]) -> Vec<String> {
    let name = &new.name;
    let mut words = Vec::new();
    for now in &new.rate_limits {
        let was = old.rate_limits.iter().find(|was| was.name == now.name && was.per == now.per);
        match was {
            None => words.push(format!("{name} rate limit {} added: {}", now.name, shown(now))),
            Some(was) => {
                let subject = format!("{name} rate limit {}", now.name);
                words.extend(change(pair, was, now).map(|change| format!("{subject} {change}")));
            }
        }
    }
    let is_gone = |was: &&RateLimit| !new.rate_limits.iter().any(|now| now.name == was.name && now.per == was.per);
    for gone in old.rate_limits.iter().filter(is_gone) {
        words.push(format!("{name} rate limit {} removed, was {}", gone.name, shown(gone)));
    }
    if old.load != new.load {
        words.push(format!("{name} load {} → {}", load(old.load), load(new.load)));
    }
    words
}

/// The change of a limit.
fn change(pair: &ConfigPair<'_>, old: &RateLimit, new: &RateLimit) -> Option<String> {
    let RateLimit { name: _, line: _, per: _, rate, burst, except, mode, status } = old;
    let mut words = Vec::new();
    if *rate != new.rate {
        words.push(format!("{rate} → {}", new.rate));
    }
    if *burst != new.burst {
        words.push(format!("burst {burst} → {}", new.burst));
    }
    let segment = |rules: &Rules, limit: &RateLimit| {
        limit.except.and_then(|id| rules.segments.get(id.0 as usize)).map(|segment| segment.name.clone())
    };
    let (was, now) = (segment(pair.old.rules, old), segment(pair.new.rules, new));
    debug_assert!(was.is_some() == except.is_some(), "every segment of the rules has a name");
    if was != now {
        let shown = |name: Option<String>| name.unwrap_or_else(|| "none".to_owned());
        words.push(format!("except {} → {}", shown(was), shown(now)));
    }
    match (*mode, new.mode) {
        (RateLimitMode::Enforce, RateLimitMode::DryRun) => words.push("refuses nothing now: dry run".to_owned()),
        (RateLimitMode::DryRun, RateLimitMode::Enforce) => words.push("refuses requests now".to_owned()),
        (RateLimitMode::Enforce, RateLimitMode::Enforce) | (RateLimitMode::DryRun, RateLimitMode::DryRun) => {}
    }
    if *status != new.status {
        words.push(format!("status {} → {}", status.as_u16(), new.status.as_u16()));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// A limit in words.
fn shown(limit: &RateLimit) -> String {
    let dry = if limit.mode == RateLimitMode::DryRun { ", dry run" } else { "" };
    format!("{} per {}, burst {}{dry}", limit.rate, limit.per, limit.burst)
}

const fn load(priority: LoadPriority) -> &'static str {
    match priority {
        LoadPriority::Normal => "normal",
        LoadPriority::Low => "low",
    }
}
