//! The gate before each call: the place of the connection, the access of the caller.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header;

use super::approvers::approvers;
use super::client::{AdminClient, ClientOrigin, PlaceKind};
use super::decision::{CallAccess, CallAttempt};
use super::failures::TokenFailures;
use crate::control::admin::problem::{CallProblem, ProblemForm, ProblemKind};
use crate::control::state::ControlState;

/// Which connections a call is answered on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum CallPlaces {
    /// Those with a shared place.
    Shared,
    /// All: it is answered when the shared places are taken.
    Any,
}

/// The gate before a call.
#[derive(Clone)]
pub(in crate::control::admin) struct AccessGate {
    pub control: Arc<ControlState>,
    pub failures: Arc<TokenFailures>,
    pub access: CallAccess,
    pub places: CallPlaces,
}

/// Lets a request through, with [`Admitted`](super::Admitted) as an extension, or answers it.
pub(in crate::control::admin) async fn check_access(
    State(gate): State<AccessGate>,
    Extension(client): Extension<AdminClient>,
    mut request: Request,
    next: Next,
) -> Response {
    let form = ProblemForm::of(request.uri().path());
    if client.place == PlaceKind::Reserved && gate.places == CallPlaces::Shared {
        let help = "close idle connections, or try again";
        let detail = "all connections for this call are taken; health, metrics and kill are still answered";
        return ProblemKind::Busy.because(detail, help).respond(form);
    }
    let snapshot = gate.control.snapshot();
    let approvers = approvers(&snapshot.rules);
    let attempt = CallAttempt {
        access: gate.access,
        client: &client.origin,
        authorization: request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
        now: gate.control.clock.wall(),
        own_uid: own_uid(),
        approvers: &approvers,
    };
    let decided = attempt.admit(&snapshot.rules.admin);
    drop(approvers);
    drop(snapshot);
    match decided {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(problem) => {
            let path = request.uri().path();
            tracing::warn!(client = %client.origin, path, "admin call refused: {}", problem.detail);
            gate.slow_down(&client.origin, &problem).await;
            problem.respond(form)
        }
    }
}

/// The user of this process.
pub(in crate::control::admin) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl AccessGate {
    /// Waits when this address has sent many tokens that are not valid.
    async fn slow_down(&self, client: &ClientOrigin, problem: &CallProblem) {
        let ClientOrigin::Tcp { peer, .. } = client else { return };
        if matches!(problem.kind, ProblemKind::TokenUnknown | ProblemKind::TokenExpired) {
            tokio::time::sleep(self.failures.record(*peer, self.control.clock.now())).await;
        }
    }
}
