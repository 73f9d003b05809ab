//! A try that has ended without a response to pass on: releases its connection, charges its endpoint, and moves the
//! request on to the next try, if there is one (`follow_up.rs`).

use std::mem;
use std::rc::Rc;

use super::exchange::Exchange;
use super::follow_up::{self, NextStep};
use super::judge;
use super::try_failure::TryFailure;
use super::upstream_connector::UpstreamConnector;
use crate::failover::{FailureCause, Reached, Resendable};
use crate::proxy::body::replay::ReplayableBody;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::upstream::h2_peer::H2PeerState;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::ConnectTarget;
use crate::proxy::upstream::tls;
use crate::proxy::upstream::upstream_response::{UpstreamResponse, WholeBody};
use crate::proxy::wire::fault::Fault;
use crate::route::RetryCondition;

/// The largest body of a response that is read before another try replaces it.
const DISCARDED_BYTES_MAX: u64 = 16 * 1024;

/// How a try ended that did not succeed.
pub(super) enum TryEnd {
    /// Without a response.
    Failed(TryFailure),
    /// With a response, in the exchange, that another try may replace.
    Answered(TryFailure),
}

/// A try that has ended, and what is kept of its request.
pub(super) struct EndedTry {
    pub(super) end: Box<TryEnd>,
    /// The connection came from the pool.
    pub(super) reused: bool,
    pub(super) resendable: Resendable,
    pub(super) replayable: Option<ReplayableBody>,
    /// The HTTP/2 connection.
    pub(super) peer: Option<Rc<H2PeerState>>,
}

/// What comes after a failed try.
pub(super) enum AfterFailure {
    /// Another try, with this body.
    Again(RequestBody),
    /// The response in the exchange stands.
    Stands,
}

/// Ends a failed try and moves the request on.
pub(super) async fn move_on(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    mut body: RequestBody,
    ended: Box<EndedTry>,
) -> Result<AfterFailure, Fault> {
    let EndedTry { end, reused, resendable, replayable, peer } = *ended;
    let (failure, is_answered) = match *end {
        TryEnd::Failed(failure) => (failure, false),
        TryEnd::Answered(failure) => (failure, true),
    };
    let mut failure = TryFailure { reused, resendable, ..failure };
    if exchange.prepared.upload.as_ref().is_some_and(|upload| upload.failed.get().is_some()) {
        // The client's fault: nothing is charged, and nothing is sent again.
        exchange.release_upstream();
        return Err(failure.fault.unwrap_or(Fault::ClientGone));
    }
    if !is_answered {
        release(exchange, connector, peer.as_ref(), &mut failure);
    }
    if failure.reached == Reached::Unsent {
        connector.sent -= 1;
    }
    connector.was_refused = failure.reached == Reached::Unprocessed && failure.fault != Some(Fault::TlsAlert);
    if connector.was_refused {
        // The next attempt avoids this connection, which may refuse its streams again.
        connector.declined = connector.declined.take().or(peer);
    }
    let next = follow_up::decide(exchange, connector, &failure);
    if !is_answered && failure.reached != Reached::Aborted {
        let on_variant = matches!(next, Ok(NextStep::SameEndpoint | NextStep::Try(_)));
        if on_variant && failure.is_untouched() {
            judge::begin_again(exchange);
        } else {
            judge::failed(exchange, failure.fault);
        }
    }
    let Ok(next) = next else {
        if let Some(replayable) = replayable {
            replayable.discard();
        }
        return if is_answered { Ok(AfterFailure::Stands) } else { Err(failure.fault.unwrap_or(Fault::UpstreamReset)) };
    };
    if is_answered {
        judge::replaced(exchange);
        discard(exchange);
    }
    // The request begins again with what is kept. If nothing is kept, nothing was sent, and it is as before.
    if let Some(kept) = replayable.filter(|kept| kept.resendable() != Resendable::No) {
        body = kept.into_body();
    }
    follow_up::go_on(exchange, connector, &failure, next).await?;
    Ok(AfterFailure::Again(body))
}

/// Ends the connection or stream of a failed try.
fn release(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    peer: Option<&Rc<H2PeerState>>,
    failure: &mut TryFailure,
) {
    let lease = exchange.attempt.lease.take();
    if lease.as_ref().is_some_and(Lease::is_tls_refusal) {
        let target = ConnectTarget { upstream: &connector.upstream, endpoint: &connector.endpoint };
        tls::record_refusal(&exchange.client.worker, target);
        // The endpoint refused the handshake, of which it sees the end after the proxy: it processed nothing.
        *failure = TryFailure {
            reached: Reached::Unprocessed,
            reused: false,
            resendable: failure.resendable,
            condition: Some(RetryCondition::Connect),
            ..TryFailure::of_fault(Fault::TlsAlert)
        };
    }
    let ended = lease.as_ref().is_none_or(Lease::is_closed);
    // A stream that was reset on an open connection did not cross the end of that connection.
    failure.reused &= ended || failure.reached == Reached::Unsent;
    connector.broken = peer.filter(|_| ended && failure.cause == Some(FailureCause::Reset)).map(Rc::clone);
    // A try that took too long still has its stream, and its part of the upload.
    if let Some(lease) = lease {
        lease.abandon(exchange.prepared.upload.as_ref());
    }
}

/// Reads the rest of a response that another try replaces, if it has arrived: then its connection serves again.
fn discard(exchange: &mut Exchange) {
    let UpstreamResponse { head, mut body, .. } = mem::take(&mut exchange.upstream_response);
    exchange.client.worker.take_back_fields(head.fields);
    let now_ms = exchange.client.worker.now_ms();
    let ended = body.is_end_stream()
        || body.size_hint().exact().is_some_and(|length| length <= DISCARDED_BYTES_MAX)
            && matches!(body.take_whole(&mut exchange.attempt.lease), WholeBody::Arrived(_));
    let upload = exchange.prepared.upload.as_ref().filter(|upload| !upload.ended.get());
    match exchange.attempt.lease.take() {
        Some(lease) if ended && upload.is_none() => lease.finish(None, now_ms),
        Some(lease) => lease.abandon(upload),
        None => {}
    }
}
