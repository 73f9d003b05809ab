//! The gate before each call: the place of the connection, the access of the caller.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::client::{AdminClient, PlaceKind};
use super::credentials::CallerCredentials;
use super::decision::{Admitted, CallAccess};
use super::failures::TokenFailures;
use super::sessions::Sessions;
use crate::control::admin::origin::check_session_act;
use crate::control::admin::problem::{CallProblem, ProblemKind};
use crate::control::admin::return_path::ReturnPath;
use crate::control::admin::row_form::RowForm;
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
    pub sessions: Arc<Sessions>,
    pub row: GatedRow,
}

/// The row of the table of calls that a gate is before.
#[derive(Clone, Copy, Debug)]
pub(in crate::control::admin) struct GatedRow {
    pub access: CallAccess,
    pub places: CallPlaces,
    pub form: RowForm,
}

/// Lets a request through, with [`Admitted`] as an extension, or answers it.
pub(in crate::control::admin) async fn check_access(
    State(gate): State<AccessGate>,
    Extension(client): Extension<AdminClient>,
    mut request: Request,
    next: Next,
) -> Response {
    let form = gate.row.form.problem_form(request.uri().path(), request.headers());
    if client.place == PlaceKind::Reserved && gate.row.places == CallPlaces::Shared {
        let help = "close idle connections, or try again";
        let detail = "all connections for this call are taken; health, metrics and kill are still answered";
        return ProblemKind::Busy.because(detail, help).respond(form);
    }
    match gate.admit(&client, &request) {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(problem) => {
            let path = request.uri().path();
            tracing::warn!(client = %client.origin, path, "admin call refused: {}", problem.detail);
            gate.failures.slow_down(&client.origin, &problem, gate.control.clock.now()).await;
            let to = request.uri().path_and_query().map_or("/", |target| target.as_str());
            problem.respond_before(form, &ReturnPath::of(to))
        }
    }
}

impl AccessGate {
    fn admit(&self, client: &AdminClient, request: &Request) -> Result<Admitted, CallProblem> {
        let credentials = CallerCredentials::of(&client.origin, request.headers());
        let admitted = credentials.admit(self.row.access, &self.control, &self.sessions)?;
        if admitted.session_ends_at.is_some() {
            check_session_act(request.method(), request.headers())?;
        }
        Ok(admitted)
    }
}
