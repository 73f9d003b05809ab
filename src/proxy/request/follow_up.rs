//! What follows a failed try: another endpoint, the same one again, stable instead of a variant, or nothing. The pure
//! rule in `failover/retry.rs` decides; here are its facts, and what its decision changes.
//!
//! A failure is charged to its endpoint before anything else, also when the request then succeeds elsewhere.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::exchange::{ChosenVariant, Exchange};
use super::trace;
use super::try_failure::{Pushback, TryFailure};
use super::upstream_connector::{UpstreamConnector, stable_fallback};
use crate::failover::{self, FailedAttempt, GiveUpReason, Reached, Retry, Unconnected, back_off};
use crate::proxy::upstream::balance::{EndpointSet, Picked};
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::route::{Rescue, RetryCondition, Route};
use crate::telemetry::{StatusClass, UnavailableCause};

/// The number of the try, for the upstream: on the second and later ones.
const ATTEMPT: HeaderName = HeaderName::from_static("x-pointsman-attempt");

/// The longest wait that an endpoint may ask for.
const PUSHBACK_MAX: Duration = Duration::from_secs(30);

/// What follows a failed try.
pub(super) enum NextStep {
    /// The same endpoint on another connection, at once.
    SameEndpoint,
    /// Another try within the upstream.
    Try(NextTry),
    /// Stable answers instead of the variant.
    Rescue(ChosenVariant, GiveUpReason),
}

/// The next try within the upstream.
pub(super) struct NextTry {
    picked: Picked,
    delay: Duration,
    next: Retry,
}

/// A failed try and the route's rules for it.
struct Failed<'a> {
    failure: &'a TryFailure,
    attempt: FailedAttempt<'a>,
    route: &'a Route,
}

/// Moves the request on after it could not be connected to its endpoint.
///
/// # Errors
/// Returns the fault if no endpoint is left.
pub(super) async fn after_no_connection(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    fault: Fault,
) -> Result<(), Fault> {
    let mut failure = TryFailure::unconnected(fault);
    if !connector.pool().charge_failed_opening() {
        failure.cause = None;
    }
    if connector.classify(&failure, &exchange.client.worker) == Unconnected::Endpoint {
        connector.upstream.record_connect_failure(&connector.endpoint, fault, &exchange.client.worker);
    }
    let next = decide(exchange, connector, &failure).map_err(|_| connector.final_fault(fault))?;
    go_on(exchange, connector, &failure, next).await
}

/// Charges a failure to its endpoint, and decides what follows.
///
/// # Errors
/// Returns why the failure stands.
#[cold]
pub(super) fn decide(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    failure: &TryFailure,
) -> Result<NextStep, GiveUpReason> {
    let view = Rc::clone(&exchange.view);
    let Some(id) = exchange.routing.route else { return Err(GiveUpReason::NotListed) };
    let route = view.snapshot.rules.route(id);
    // The opening of a WebSocket over HTTP/2 is a CONNECT; it is repeated as a GET is.
    let is_opening = exchange.upgrade.requested().is_some();
    let method = if is_opening { Method::GET } else { exchange.request.head.method.clone() };
    let trial = exchange.attempt.flight.as_ref().is_some_and(|flight| flight.is_trial);
    let &TryFailure { reached, condition, reused, resendable, .. } = failure;
    let attempt = FailedAttempt { reached, condition, reused, method: &method, resendable, trial };
    let failed = Failed { failure, attempt, route };
    connector.past.upstream_of_retries = exchange.request.trusted && exchange.request.field_summary.repeated;
    let next = judge(exchange, connector, &failed);
    if next == Retry::SameEndpoint {
        return Ok(NextStep::SameEndpoint);
    }
    // One broken connection is one failure, however many streams it had.
    let is_first = connector.broken.take().is_none_or(|peer| peer.charge_end());
    if let Some(cause) = failure.cause.filter(|_| is_first) {
        exchange.charge(cause);
    } else if failure.cause.is_none() && reached == Reached::Answered {
        // The endpoint has responded, if only with a status that the route repeats.
        exchange.succeed();
    }
    refuse(exchange, failure);
    match next_try(exchange, connector, &failed, next) {
        Ok(next) => Ok(NextStep::Try(next)),
        Err(reason) => {
            let stable = stable_fallback(exchange, None).filter(|_| is_rescued(exchange, &failed));
            if stable.is_none() {
                stand(exchange, connector, failure, reason);
            }
            stable.map(|stable| NextStep::Rescue(stable, reason)).ok_or(reason)
        }
    }
}

/// Makes the next try the current one, after its wait. The request has what was kept of it.
///
/// # Errors
/// When stable, which answers instead, cannot take the request.
pub(super) async fn go_on(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    failure: &TryFailure,
    step: NextStep,
) -> Result<(), Fault> {
    let worker = Rc::clone(&exchange.client.worker);
    if let NextStep::SameEndpoint = step {
        trace::end_attempt(exchange, failure.why);
        connector.upstream.meter(worker.index).retries.inc();
        if failure.reached == Reached::Unanswered {
            connector.past.crossed = true;
        }
        if failure.reached != Reached::Unsent {
            number_try(exchange, connector);
        }
        return Ok(());
    }
    end_try(exchange, connector, failure);
    if connector.sent > 0 {
        number_try(exchange, connector);
    }
    // The count of requests in flight is that of the endpoint in use, and the times are those of the last try.
    exchange.attempt.flight = None;
    (exchange.attempt.head_at, exchange.attempt.latency) = (None, None);
    match step {
        NextStep::SameEndpoint => {}
        NextStep::Try(NextTry { picked, delay, next }) => {
            match next {
                Retry::NextEndpoint if failure.reached == Reached::Unsent => connector.past.endpoints += 1,
                Retry::NextEndpoint => connector.past.unprocessed += 1,
                Retry::Repeat { counts } => connector.past.made += u32::from(counts),
                Retry::SameEndpoint | Retry::GiveUp(_) => {}
            }
            connector.upstream.meter(worker.index).retries.inc();
            // Before the wait: its end releases the endpoint, also when the client leaves meanwhile.
            connector.select(exchange, picked);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
        }
        NextStep::Rescue(stable, reason) => {
            // Counted before it is known whether stable answers.
            let meter = connector.upstream.meter(worker.index);
            meter.rescues.inc();
            if failure.reached == Reached::Unsent {
                // A request that reached none of the variant's endpoints.
                meter.requests[StatusClass::None as usize].inc();
            }
            exchange.fall_back(stable, failure.compared());
            connector.forget_host(&mut exchange.request.head);
            let sent = connector.sent;
            let next = UpstreamConnector::new(exchange, stable);
            *connector = next.inspect_err(|_| exchange.attempt.record_last_try(reason))?;
            // One more try: only connections that fail are replaced.
            (connector.sent, connector.past.made) = (sent, u32::MAX);
        }
    }
    Ok(())
}

/// Sets the number of the next try, for the upstream.
fn number_try(exchange: &mut Exchange, connector: &UpstreamConnector) {
    exchange.request.head.fields.insert_number(&ATTEMPT, u64::from(connector.sent + 1));
}

/// Records why a failure stands.
fn stand(exchange: &mut Exchange, connector: &UpstreamConnector, failure: &TryFailure, reason: GiveUpReason) {
    if reason == GiveUpReason::NotListed {
        return;
    }
    exchange.attempt.record_last_try(reason);
    let is_unavailable = failure.status == 503 || failure.fault.is_some_and(|fault| fault.row().status == 503);
    if reason == GiveUpReason::Budget && is_unavailable {
        let meter = connector.upstream.meter(exchange.client.worker.index);
        meter.unavailable[UnavailableCause::Budget as usize].inc();
    }
}

/// Asks the rule.
fn judge(exchange: &Exchange, connector: &UpstreamConnector, failed: &Failed<'_>) -> Retry {
    let policy = &failed.route.retry;
    if failed.failure.reached == Reached::Unsent && !failed.failure.reused {
        let trouble = connector.classify(failed.failure, &exchange.client.worker);
        return failover::unconnected(policy, trouble, connector.past);
    }
    failover::next(policy, failed.attempt, connector.past)
}

/// Finds the endpoint of the next try, and takes it from the budget.
fn next_try(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    failed: &Failed<'_>,
    next: Retry,
) -> Result<NextTry, GiveUpReason> {
    let worker = Rc::clone(&exchange.client.worker);
    let chosen = exchange.routing.chosen.ok_or(GiveUpReason::NotListed)?;
    let nth = match next {
        Retry::GiveUp(reason) => return Err(reason),
        // The first try at another endpoint after a failed connection does not wait.
        Retry::NextEndpoint => u32::try_from(connector.past.endpoints + connector.past.unprocessed).unwrap_or(u32::MAX),
        Retry::Repeat { .. } | Retry::SameEndpoint => connector.past.made.saturating_add(1),
    };
    let this = connector.at;
    let delay = if nth == 0 { Duration::ZERO } else { back_off(nth, worker.random.borrow_mut().f64()) };
    let earliest = pushed_back(exchange, failed);
    let is_call = matches!(failed.failure.condition, Some(RetryCondition::Grpc(_)));
    // The word of a gRPC endpoint is for all of its kind (gRFC A6).
    let waits_for_all = if is_call { earliest? } else { Duration::ZERO };
    if next == (Retry::Repeat { counts: true }) && !takes_from_budget(&worker, connector) {
        return Err(GiveUpReason::Budget);
    }
    connector.tried.push(this);
    // Last: it may claim the one try of an ejected endpoint.
    let picked = other_endpoint(exchange, connector, chosen, next).ok_or(GiveUpReason::Attempts)?;
    let waits = if picked.at == this { earliest? } else { waits_for_all };
    Ok(NextTry { picked, delay: delay.max(waits), next })
}

/// An endpoint that was not tried. What was not processed may also go to one that is not usable; what may have been
/// processed goes to the same one again if there is no other.
fn other_endpoint(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    chosen: ChosenVariant,
    next: Retry,
) -> Option<Picked> {
    let set = if next == Retry::NextEndpoint { EndpointSet::All } else { EndpointSet::Usable };
    let other = connector.pick_other(exchange, chosen, set);
    if other.is_some() {
        return other;
    }
    // A stream that was refused gets another connection to the same endpoint, once.
    let refused = connector.was_refused && connector.past.unprocessed == 0;
    let repeats = matches!(next, Retry::Repeat { .. }) || refused;
    if !repeats {
        return None;
    }
    connector.tried.clear();
    connector.pick_other(exchange, chosen, EndpointSet::All)
}

/// When the endpoint itself accepts another try; an error if that is never, or after the request's deadline.
fn pushed_back(exchange: &Exchange, failed: &Failed<'_>) -> Result<Duration, GiveUpReason> {
    let earliest = match failed.failure.pushback {
        Pushback::None => return Ok(Duration::ZERO),
        Pushback::Never => return Err(GiveUpReason::Deadline),
        Pushback::After(earliest) => earliest,
    };
    let (now, began) = (exchange.client.worker.clock.now(), exchange.request.began);
    let of_route = failed.route.timeouts.request.map(|limit| limit.saturating_sub(now.duration_since(began)));
    let of_call = exchange.call.as_ref().and_then(|call| call.deadline);
    let of_call = of_call.map(|deadline| deadline.duration_since(now));
    let left = of_route.into_iter().chain(of_call).fold(PUSHBACK_MAX, Duration::min);
    if earliest >= left { Err(GiveUpReason::Deadline) } else { Ok(earliest) }
}

fn takes_from_budget(worker: &Worker, connector: &UpstreamConnector) -> bool {
    let health = &connector.upstream.health;
    let now_ms = worker.uptime_ms();
    let requests = health.requests.sum(now_ms / 1000).requests;
    let takes = health.budget.try_take(connector.upstream.upstream.retry_budget, now_ms, requests);
    if !takes {
        let meter = connector.upstream.meter(worker.index);
        meter.retries_over_budget.inc();
    }
    takes
}

/// Whether `rescue` of the variant covers this failure.
fn is_rescued(exchange: &Exchange, failed: &Failed<'_>) -> bool {
    let variant =
        exchange.routing.chosen.and_then(|chosen| failed.route.split()?.variants.get(usize::from(chosen.variant.0)));
    variant.is_some_and(|variant| failover::rescues(&variant.rescue, failed.attempt))
}

/// Counts and logs a failed try that another one follows.
fn end_try(exchange: &mut Exchange, connector: &UpstreamConnector, failure: &TryFailure) {
    let meter = connector.upstream.meter(exchange.client.worker.index);
    if failure.fault.is_some() {
        meter.failures.inc();
    }
    if failure.reached != Reached::Unsent {
        let class = if failure.status == 0 { StatusClass::None } else { StatusClass::of(failure.status) };
        meter.requests[class as usize].inc();
    }
    trace::end_attempt(exchange, failure.why);
    exchange.attempt.record_failed_try(failure);
}

/// A try that the endpoint has refused keeps its place in the balancer's score: fast refusals attract no load.
#[cold]
pub(super) fn refuse(exchange: &Exchange, failure: &TryFailure) {
    if let (Some(for_ms), Some(flight)) = (failure.keeps_ms(), &exchange.attempt.flight) {
        flight.refuse(for_ms);
    }
}

/// Whether a response that shows a failure is more than passed on: it says something about its endpoint, or another try
/// may replace it.
#[cold]
pub(super) fn matters(exchange: &Exchange, failure: &TryFailure) -> bool {
    let Some(condition) = failure.condition else { return false };
    let Some(id) = exchange.routing.route else { return false };
    let route = exchange.view.snapshot.rules.route(id);
    let rescued = || {
        let variants = route.split().map_or(&[][..], |split| &split.variants);
        variants.iter().any(|variant| variant.rescue.on.contains(condition))
    };
    failure.cause.is_some() || route.retry.on.contains(condition) || rescued()
}

/// Most bytes of a body that are kept for another try.
pub(super) fn body_buffer(exchange: &Exchange) -> usize {
    let route = exchange.routing.route.map(|id| exchange.view.snapshot.rules.route(id));
    route.map_or(0, |route| route.retry.body_buffer as usize)
}

/// The same over HTTP/1.1, where a body is kept only if the request may be repeated after it was sent.
pub(super) fn kept_body(exchange: &Exchange) -> Option<usize> {
    let route = exchange.view.snapshot.rules.route(exchange.routing.route?);
    let (policy, method) = (&route.retry, &exchange.request.head.method);
    let by_method = |rescue: &Rescue| !rescue.is_off() && rescue.methods.contains(method);
    let rescued = || route.split().is_some_and(|split| split.variants.iter().any(|variant| by_method(&variant.rescue)));
    let repeated = policy.methods.contains(method) || exchange.call.is_some() && policy.on.has_grpc();
    let may_repeat = policy.attempts > 0 && repeated || rescued();
    (may_repeat && policy.body_buffer > 0).then_some(policy.body_buffer as usize)
}
