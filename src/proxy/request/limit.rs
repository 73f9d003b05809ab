//! Limit: whether the request is within the limits of its route. All must allow it; one that refuses takes nothing of the
//! others, and the one with the longest wait answers. Before the decision: a refused caller is exposed to no variant.
//!
//! A route of low priority is refused first while the proxy is short of memory or of places.

use std::net::IpAddr;

use super::caller::IdentifiedCaller;
use super::exchange::Exchange;
use crate::limiter::{KeyKind, RateQuery, RateTable};
use crate::proxy::wire::fault::{Fault, LimitRefusal};
use crate::proxy::worker::share::client_key;
use crate::route::{LoadPriority, RateLimit, RateLimitMode, RateValue, Route, RouteId};
use crate::snapshot::LimitState;

/// A route of low priority is refused from this many percent of the listener's requests on.
const REQUESTS_PERCENT: i64 = 80;
const NS_A_MS: u64 = 1_000_000;

/// Refuses a request of low priority under load.
#[inline]
pub(crate) fn shed(exchange: &Exchange, id: RouteId, route: &Route) -> Result<(), Fault> {
    match route.load {
        LoadPriority::Normal => Ok(()),
        LoadPriority::Low => shed_low(exchange, id),
    }
}

fn shed_low(exchange: &Exchange, id: RouteId) -> Result<(), Fault> {
    let (listener, worker) = (&exchange.client.listener, &exchange.client.worker);
    let requests: i64 = listener.meters.used().map(|meter| meter.requests.value()).sum();
    // One request alone is always within the limit.
    let is_full = requests > 1 && requests * 100 > i64::from(listener.spec.limits.requests) * REQUESTS_PERCENT;
    if !is_full && !worker.budget.is_nearly_used() {
        return Ok(());
    }
    exchange.view.refusals(id).of(worker.index).shed.inc();
    Err(Fault::Shed)
}

/// Takes a token of each limit of the route.
#[inline]
pub(crate) fn limit(exchange: &Exchange, id: RouteId, identified: &IdentifiedCaller<'_>) -> Result<(), Fault> {
    let states = exchange.view.limits(id);
    if states.is_empty() {
        return Ok(());
    }
    let specs = &exchange.view.snapshot.rules.route(id).rate_limits;
    let now_ns = exchange.request.began.nanos();
    let all = RouteLimits { exchange, identified, specs, states, now_ns };
    all.enforce()?;
    all.try_out();
    Ok(())
}

/// The limits of a route and a request.
struct RouteLimits<'a> {
    exchange: &'a Exchange,
    identified: &'a IdentifiedCaller<'a>,
    specs: &'a [RateLimit],
    states: &'a [std::sync::Arc<LimitState>],
    now_ns: u64,
}

impl<'a> RouteLimits<'a> {
    /// The limits of this mode that hold for the caller, by their numbers.
    fn of(&self, mode: RateLimitMode) -> impl Iterator<Item = (usize, &'a RateLimit, &'a LimitState)> {
        let segments = &self.exchange.view.snapshot.rules.segments;
        let IdentifiedCaller { head, caller, .. } = self.identified;
        let all = self.specs.iter().zip(self.states).enumerate();
        let held = all.filter(move |(_, (spec, _))| spec.mode == mode && spec.holds(head, caller, segments));
        held.map(|(at, (spec, state))| (at, spec, &**state))
    }

    fn asked(&self, spec: &RateLimit, state: &'a LimitState) -> RateQuery<'a> {
        let IdentifiedCaller { head, caller, .. } = self.identified;
        let key = match spec.value(head, caller) {
            RateValue::Whole => state.table.key(KeyKind::Value, &[]),
            RateValue::Of(value) => state.table.key(KeyKind::Value, value),
            RateValue::None => address_key(&state.table, caller.client_ip),
        };
        RateQuery { key, pace: &state.pace, now_ns: self.now_ns }
    }

    fn enforce(&self) -> Result<(), Fault> {
        let worker = &self.exchange.client.worker;
        let mut leases = worker.leases.borrow_mut();
        let enforced = || self.of(RateLimitMode::Enforce);
        if self.specs.len() > 1 {
            let mut longest: Option<(u64, usize, &LimitState)> = None;
            for (at, spec, state) in enforced() {
                let Err(wait) = leases.look(&state.table, &self.asked(spec, state)) else { continue };
                if longest.is_none_or(|(before, ..)| wait > before) {
                    longest = Some((wait, at, state));
                }
            }
            if let Some((wait, at, state)) = longest {
                return Err(self.refuse(at, state, wait));
            }
        }
        for (at, spec, state) in enforced() {
            let Err(wait) = leases.take(&state.table, &self.asked(spec, state)) else { continue };
            // Another worker was faster since the look.
            for (_, spec, state) in enforced().take_while(|(before, ..)| *before < at) {
                leases.give_back(&state.table, &self.asked(spec, state));
            }
            return Err(self.refuse(at, state, wait));
        }
        Ok(())
    }

    /// Counts the request at the limits that refuse nothing yet.
    fn try_out(&self) {
        let worker = &self.exchange.client.worker;
        for (_, spec, state) in self.of(RateLimitMode::DryRun) {
            if worker.leases.borrow_mut().take(&state.table, &self.asked(spec, state)).is_err() {
                state.meters.of(worker.index).dry_run.inc();
            }
        }
    }

    #[cold]
    fn refuse(&self, at: usize, state: &LimitState, wait_ns: u64) -> Fault {
        state.meters.of(self.exchange.client.worker.index).refused.inc();
        Fault::RateLimited(LimitRefusal {
            number: u16::try_from(at).unwrap_or(u16::MAX),
            wait_ms: u32::try_from(wait_ns.div_ceil(NS_A_MS)).unwrap_or(u32::MAX),
        })
    }
}

/// The key of an address; an IPv6 address is that of its network.
fn address_key(table: &RateTable, ip: IpAddr) -> u64 {
    match client_key(ip) {
        IpAddr::V4(v4) => table.key(KeyKind::Address, &v4.octets()),
        IpAddr::V6(v6) => table.key(KeyKind::Address, &v6.octets()),
    }
}
