//! Begin: creates the exchange of a request.

use std::rc::Rc;

use http::Method;
use http_body::Body as _;

use super::caller::CallerIdentity;
use super::exchange::{
    Exchange, ExchangeProgress, ExchangeStage, Mirror, PreparedBody, ReceivedRequest, Routing, SentResponse,
    UpstreamAttempt,
};
use super::http_proxy::HttpProxy;
use super::judged::Judged;
use super::screening::Screening;
use super::sending::SendingBody;
use super::upgrade_state::Upgrade;
use crate::fields::Fields;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::IncomingBody;
use crate::proxy::upstream::upstream_response::UpstreamResponse;
use crate::proxy::wire::field_rules::FieldSummary;
use crate::proxy::wire::grpc::GrpcCall;
use crate::proxy::wire::head::Head;
use crate::proxy::worker::trace_context::{TRACEPARENT, TraceContext};
use crate::telemetry::EndedBy;

/// Creates the exchange of a request.
pub(crate) fn begin(proxy: Rc<HttpProxy>, client: Rc<Client>, head: Head, body: &IncomingBody) -> Box<Exchange> {
    let worker = &client.worker;
    client.begin_request();
    worker.meter().requests_begun.inc();
    let fields = &head.fields;
    let field_summary = FieldSummary::of(fields);
    let began = worker.clock.now();
    let reader = client.reader.borrow().clone();
    client.take_slot(reader.as_ref().map_or(&client.slot, |reader| &reader.slot));
    let view = proxy.view();
    let trace = view.snapshot.rules.traces.as_ref();
    let trace = trace.map(|_| Box::new(TraceContext::new(fields, &mut worker.random.borrow_mut())));
    let trace_id = match &trace {
        Some(trace) => Some(trace.text()),
        None if field_summary.traced => trace_id(fields),
        None => None,
    };
    let call = (field_summary.grpc && head.method == Method::POST).then(|| Box::new(GrpcCall::new(fields, began)));
    let (began_wall, client_ip, has_body) = (worker.wall_at(began), client.peer.ip(), !body.is_end_stream());
    // The box comes first, and the exchange is one expression: it is then made in the box, not copied into it.
    let place = Box::new_uninit();
    let exchange = Exchange {
        view,
        progress: ExchangeProgress {
            stage: ExchangeStage::Read,
            ender: EndedBy::Done,
            detail: "",
            ended_in: ExchangeStage::Read,
            screening: Screening::Passed,
        },
        call,
        trace,
        request: ReceivedRequest {
            began,
            began_wall,
            head,
            host: None,
            normal_path: None,
            client_ip,
            trusted: false,
            forwarded_scheme: None,
            request_id: None,
            trace_id,
            field_summary,
            has_body,
            reader,
            memory: None,
        },
        caller: CallerIdentity::default(),
        routing: Routing::default(),
        judged: Judged::default(),
        upgrade: Upgrade::default(),
        mirror: Mirror::default(),
        prepared: PreparedBody::default(),
        attempt: UpstreamAttempt::default(),
        upstream_response: UpstreamResponse::default(),
        sending: SendingBody::default(),
        response: SentResponse::default(),
        client,
        proxy,
    };
    Box::write(place, exchange)
}

/// The trace id of a W3C `traceparent`: version, 32 hex digits, span, flags.
fn trace_id(fields: &Fields) -> Option<Box<str>> {
    let text = fields.get_text(&TRACEPARENT)?;
    let id = text.get(3..35)?;
    let fine = text.as_bytes().get(35) == Some(&b'-') && id.bytes().all(|b| b.is_ascii_hexdigit());
    (fine && id.bytes().any(|b| b != b'0')).then(|| id.into())
}
