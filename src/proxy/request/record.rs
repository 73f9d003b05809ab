//! Record: counts and logs an exchange when it is dropped, after its last byte or wherever it ends.

use super::exchange::{Exchange, ExchangeStage};
use super::judge;
use super::trace;
use crate::proxy::upstream::upstream_response::UpstreamBody;
use crate::route::{Reason, TokenFault, VariantId};
use crate::telemetry::{
    AccessEntry, AccessEvent, EndedBy, Fallback, GrpcStatus, ReasonLabel, RequestEntry, StatusClass, Termination,
    TlsEntry,
};

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(refusal) = self.request.reader.as_ref().and_then(|reader| reader.refusal()) {
            self.progress.stage = ExchangeStage::Body;
            self.record_end(EndedBy::Client, refusal.name());
        } else if self.progress.stage != ExchangeStage::Done && self.progress.ender == EndedBy::Done {
            if self.client.cut.get() {
                self.record_end(EndedBy::Proxy, "drain_deadline");
            } else if self.client.killed.get() || self.request.reader.as_ref().is_some_and(|reader| reader.is_killed())
            {
                self.client.worker.meter().killed_streams.inc();
                self.record_end(EndedBy::Proxy, "killed");
            } else {
                self.record_end(EndedBy::Client, "client_gone");
                if let Some(call) = self.call.as_mut().filter(|call| call.status == GrpcStatus::UNSEEN) {
                    call.status = GrpcStatus::CANCELLED;
                }
            }
        }
        judge::dropped(self);
        self.upstream_response.body = UpstreamBody::None;
        // Release the upstream first, so that its counts are correct when the request appears in the log.
        self.release_upstream();
        self.attempt.flight = None;
        if let Some(primary) = self.mirror.primary.take() {
            primary.close();
        }
        let took = self.client.worker.clock.now().duration_since(self.request.began);
        if self.upgrade.is_open() {
            if let Some(meter) = self.meter() {
                meter.upgrades_open.add(-1);
            }
            log(self, took, Some(AccessEvent::Close));
        } else {
            count(self, took);
            log(self, took, None);
        }
        if self.trace.is_some() {
            trace::record_spans(self, took);
        }
        let worker = &self.client.worker;
        worker.meter().requests_recorded.inc();
        worker.take_back_fields(std::mem::take(&mut self.request.head.fields));
        self.client.free_slot(self.slot());
        self.client.end_request();
    }
}

/// Records a request that becomes a tunnel. A tunnel may last for days, so the request is counted now, and logged at
/// both ends.
pub(crate) fn open_tunnel(exchange: &mut Exchange) {
    debug_assert!(exchange.upgrade.is_open(), "dropping the exchange must not count the request again");
    // Before anything else: dropping the exchange subtracts it again.
    if let Some(meter) = exchange.meter() {
        meter.upgrades_open.add(1);
        meter.upgrades.inc();
    }
    let took = exchange.client.worker.clock.now().duration_since(exchange.request.began);
    count(exchange, took);
    log(exchange, took, Some(AccessEvent::Open));
}

fn count(exchange: &Exchange, took: std::time::Duration) {
    let worker = &exchange.client.worker;
    let variant = exchange.routing.chosen.map_or(VariantId::STABLE, |chosen| chosen.variant);
    let meter = exchange.meter().unwrap_or_else(|| worker.registry.unrouted.meters.of(worker.index));
    let reason =
        exchange.routing.chosen.map_or(ReasonLabel::NONE, |chosen| ReasonLabel::of(chosen.reason(), chosen.fallback));
    meter.requests[reason.index()][StatusClass::of(exchange.response.status) as usize].inc();
    meter.duration.record(took);
    // The time of stable's response says nothing about the variant, that of a refused request nothing about any.
    if exchange.routing.chosen.is_some_and(|chosen| chosen.fallback == Fallback::No)
        && let Some(sample) = exchange.routing.route.and_then(|route| exchange.view.sample(route))
    {
        sample.answered(worker.index, variant, took);
    }
    if let Some(call) = &exchange.call {
        meter.grpc.inc(call.status);
    }
    if let Some(first_byte) = exchange.response.first_byte {
        meter.first_byte.record(first_byte);
    }
    if exchange.response.status < 500 && fails_late(exchange) {
        let sampled =
            exchange.routing.chosen.is_some_and(|chosen| chosen.reason() == Reason::Weight && chosen.counted());
        meter.failed_late[usize::from(sampled)].inc();
    }
    if exchange.routing.chosen.is_some_and(|chosen| chosen.decision.unkeyed) {
        meter.unkeyed.inc();
    }
    if let Some(upload) = &exchange.prepared.upload {
        meter.request_bytes.add(upload.bytes.get());
    }
    meter.response_bytes.add(exchange.response.bytes);
}

/// Whether the request failed although its status is not 5xx: the upstream cut the response, the gRPC status blames the
/// server, or the first try failed. A later try hides nothing. If stable answered for a variant, the variant's failure is
/// already counted.
fn fails_late(exchange: &Exchange) -> bool {
    if exchange.routing.chosen.is_some_and(|chosen| chosen.fallback == Fallback::Yes) {
        return false;
    }
    exchange.progress.ender == EndedBy::Upstream
        || exchange.attempt.has_first_error()
        || exchange.call.as_ref().is_some_and(|call| call.status.blames_server())
}

fn log(exchange: &mut Exchange, took: std::time::Duration, event: Option<AccessEvent>) {
    let view = std::rc::Rc::clone(&exchange.view);
    let rules = &view.snapshot.rules;
    if !exchange.view.logs() {
        return;
    }
    let sample = rules.access_log.sample;
    let failed =
        exchange.response.status >= 500 || exchange.response.status == 0 || exchange.progress.ender != EndedBy::Done;
    if !failed && sample < 1.0 && exchange.client.worker.random.borrow_mut().f64() >= sample {
        return;
    }
    let request_id = exchange.request_id();
    let exchange = &*exchange;
    let upstream = exchange.routing.chosen.map(|chosen| rules.upstreams[chosen.upstream.0 as usize].name.as_str());
    let reason = exchange.routing.chosen.map(|chosen| ReasonLabel::of(chosen.reason(), chosen.fallback));
    let (screening, route) = (exchange.progress.screening, exchange.routing.route.map(|id| rules.route(id)));
    let request = RequestEntry {
        at: exchange.request.began_wall,
        request_id: request_id.as_str(),
        client_ip: exchange.request.client_ip,
        peer: exchange.client.peer,
        method: exchange.request.head.method.as_str(),
        host: exchange.request.host(),
        path: exchange.path(),
        version: exchange.request.head.version,
        listener: &exchange.client.listener.spec.name,
        route: exchange.route_name(),
        tenant: exchange.caller.tenant.as_deref(),
        generation: exchange.view.snapshot.generation.0,
        trace_id: exchange.request.trace_id.as_deref(),
    };
    let entry = AccessEntry {
        sender: exchange.client.sender,
        tls: exchange.client.tls.get().map(|secured| TlsEntry {
            version: secured.version,
            cipher: secured.cipher,
            sni: secured.sni.as_deref(),
            client: secured.identity.as_ref().map(|identity| identity.subject.as_str()),
        }),
        status: exchange.response.status,
        request_bytes: exchange.prepared.upload.as_ref().map_or(0, |upload| upload.bytes.get()),
        response_bytes: exchange.response.bytes,
        total: took,
        first_byte: exchange.response.first_byte,
        upstream_latency: exchange.attempt.latency,
        variant: exchange.variant_name(),
        variant_number: exchange.routing.chosen.map_or(0, |chosen| chosen.variant.0),
        reason: reason.map(|reason| ReasonLabel::name(reason.index())),
        bucket: exchange.routing.chosen.and_then(|chosen| chosen.decision.bucket).map(crate::route::Bucket::number),
        token: exchange.caller.token.map(TokenFault::name),
        upstream,
        endpoint: exchange.attempt.address(),
        attempts: exchange.attempt.number,
        tries: exchange.attempt.failed_tries(),
        retry_end: exchange.attempt.retry_end(),
        is_last_resort: exchange.attempt.is_last_resort,
        termination: Termination {
            ender: exchange.progress.ender,
            stage: if exchange.progress.ender == EndedBy::Done { '-' } else { exchange.progress.ended_in.letter() },
        },
        detail: exchange.progress.detail,
        limit: route.and_then(|route| screening.limit(route)).map(|limit| limit.name.as_str()),
        rule: route.and_then(|route| Some(route.place_of(screening.rule(route)?.line))),
        grpc_status: exchange.call.as_ref().and_then(|call| call.status.code()),
        event,
        ..AccessEntry::of(request)
    };
    exchange.client.worker.log(|log| log.push(&rules.access_log, &entry));
}
