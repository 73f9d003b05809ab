//! The demo's services: small HTTP servers that say who they are, a canary that can be made to fail, and
//! a version in the dark that has other prices.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::clock::Clock;

/// How long a slow canary takes.
const SLOW: Duration = Duration::from_millis(400);

/// What is wrong with the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoFault {
    /// Nothing.
    Off,
    /// It answers 500.
    Errors,
    /// It takes its time.
    Slow,
}

impl DemoFault {
    /// All faults, in the order in which they follow each other.
    pub(super) const ALL: [Self; 3] = [Self::Off, Self::Errors, Self::Slow];

    /// The word for people and for the control address.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Errors => "errors",
            Self::Slow => "slow",
        }
    }
}

/// The switch of the canary's fault, shared by the terminal, the control address and the canary.
#[derive(Clone, Debug, Default)]
pub(super) struct Switch(Arc<SwitchState>);

#[derive(Debug, Default)]
struct SwitchState {
    fault: AtomicU8,
    /// Since when, in milliseconds of the wall clock.
    since_ms: AtomicU64,
    /// The answers of the canary since then that had the fault.
    faulty: AtomicU64,
}

impl Switch {
    /// What is wrong now.
    pub(super) fn fault(&self) -> DemoFault {
        DemoFault::ALL[usize::from(self.0.fault.load(Ordering::Relaxed)) % DemoFault::ALL.len()]
    }

    /// Sets what is wrong.
    pub(super) fn set(&self, fault: DemoFault) {
        if fault != self.fault() {
            self.0.since_ms.store(u64::try_from(Clock.wall().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.0.faulty.store(0, Ordering::Relaxed);
        }
        self.0.fault.store(fault as u8, Ordering::Relaxed);
    }

    /// Since when that is so, by the wall clock.
    pub(super) fn since(&self) -> Duration {
        Duration::from_millis(self.0.since_ms.load(Ordering::Relaxed))
    }

    /// How many answers have had the fault since then.
    pub(super) fn faulty_answers(&self) -> u64 {
        self.0.faulty.load(Ordering::Relaxed)
    }

    /// The fault of the answer that is given now.
    fn strike(&self) -> DemoFault {
        let fault = self.fault();
        if fault != DemoFault::Off {
            self.0.faulty.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    /// The key of `fault` is pressed: off if it is on, else on.
    pub(super) fn press(&self, fault: DemoFault) -> DemoFault {
        let next = if self.fault() == fault { DemoFault::Off } else { fault };
        self.set(next);
        next
    }
}

/// Who a service is.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// `stable` or `canary`.
    pub(super) variant: &'static str,
    /// Its upstream and revision in the demo's file.
    pub(super) name: &'static str,
    /// The fault that it may have; stable has none.
    pub(super) switch: Option<Switch>,
    /// The price of an item, in cents.
    pub(super) price: fn(u32) -> u32,
}

/// The price of an item.
pub(super) fn price(item: u32) -> u32 {
    100 + item % 50 * 20
}

/// The price of an item where every third one is rounded up by mistake.
pub(super) fn other_price(item: u32) -> u32 {
    if item.is_multiple_of(3) { price(item).next_multiple_of(100) + 1 } else { price(item) }
}

/// Serves until the runtime ends.
pub(super) async fn serve(listener: TcpListener, service: Service) {
    accept(listener, move |request| {
        let service = service.clone();
        async move { service.answer(&request).await }
    })
    .await;
}

/// Serves the control address: `POST /errors`, `/slow`, `/off`; `GET /` shows the fault.
pub(super) async fn serve_switch(listener: TcpListener, switch: Switch) {
    accept(listener, move |request| {
        let switch = switch.clone();
        async move { control(&switch, &request) }
    })
    .await;
}

async fn accept<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Response<Full<Bytes>>> + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the next connection may be luckier.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            // A connection that breaks is the peer's affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Service {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match self.switch.as_ref().map_or(DemoFault::Off, Switch::strike) {
            DemoFault::Off => {}
            DemoFault::Slow => tokio::time::sleep(SLOW).await,
            DemoFault::Errors => {
                let text = format!("{} · {} · broken on purpose\n", self.variant, self.name);
                return respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text);
            }
        }
        if let Some(item) = request.uri().path().strip_prefix("/api/items/") {
            let Ok(item) = item.parse() else {
                let body = json!({ "error": "an item has a number: /api/items/7" });
                return respond(StatusCode::NOT_FOUND, "application/json", format!("{body}\n"));
            };
            let body = json!({ "item": item, "price_cents": (self.price)(item), "in_stock": true,
                "request": Uuid::now_v7().to_string() });
            return respond(StatusCode::OK, "application/json", format!("{body}\n"));
        }
        let (variant, tenant) = (field(request.headers(), "x-variant"), field(request.headers(), "x-tenant"));
        if field(request.headers(), "accept").contains("json") {
            let body = json!({ "variant": self.variant, "service": self.name, "path": request.uri().path(),
                "x-variant": variant, "tenant": tenant });
            return respond(StatusCode::OK, "application/json", format!("{body}\n"));
        }
        let tenant = if tenant.is_empty() { String::new() } else { format!(" · tenant {tenant}") };
        let text = format!("{} · {} · x-variant: {variant}{tenant}\n", self.variant, self.name);
        respond(StatusCode::OK, "text/plain; charset=utf-8", text)
    }
}

fn control(switch: &Switch, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() == http::Method::POST {
        let word = request.uri().path().trim_matches('/');
        let Some(fault) = DemoFault::ALL.into_iter().find(|fault| fault.name() == word) else {
            return respond(StatusCode::NOT_FOUND, TEXT, "POST /errors, /slow or /off\n".to_owned());
        };
        switch.set(fault);
    }
    respond(StatusCode::OK, TEXT, format!("canary's fault: {}\n", switch.fault().name()))
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Binds a port of this machine; 0 lets the system choose.
pub(super) fn bind(port: u16) -> std::io::Result<std::net::TcpListener> {
    std::net::TcpListener::bind(("127.0.0.1", port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_obeys() {
        let switch = Switch::default();
        assert_eq!(switch.fault(), DemoFault::Off);
        assert_eq!(switch.press(DemoFault::Errors), DemoFault::Errors);
        assert_eq!(switch.press(DemoFault::Slow), DemoFault::Slow);
        assert_eq!(switch.clone().fault(), DemoFault::Slow);
        assert_eq!((switch.strike(), switch.strike(), switch.faulty_answers()), (DemoFault::Slow, DemoFault::Slow, 2));
        let since = switch.since();
        assert!(since > Duration::ZERO && since <= Clock.wall());
        assert_eq!(switch.press(DemoFault::Slow), DemoFault::Off);
        assert_eq!((switch.strike(), switch.faulty_answers()), (DemoFault::Off, 0), "counted since the last change");
    }
}
