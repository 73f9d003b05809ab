//! What a request shows of its sender, and the decision by it: at the request, and again while it reads an event stream.

use http::{HeaderMap, header};

use super::approvers::approvers;
use super::client::ClientOrigin;
use super::cookie::SessionCookie;
use super::decision::{Admitted, CallAccess, CallAttempt, session_ended};
use super::identity::LiveSession;
use super::sessions::{PassKey, Sessions};
use crate::control::admin::problem::{CallProblem, ProblemKind};
use crate::control::state::ControlState;

/// What a request shows of its sender.
#[derive(Clone)]
pub(in crate::control::admin) struct CallerCredentials {
    client: ClientOrigin,
    /// The `Authorization` field.
    authorization: Option<Vec<u8>>,
    cookie: SessionCookie,
}

impl CallerCredentials {
    /// Those of a request.
    pub fn of(client: &ClientOrigin, headers: &HeaderMap) -> Self {
        let authorization = headers.get(header::AUTHORIZATION).map(|field| field.as_bytes().to_vec());
        Self { client: client.clone(), authorization, cookie: SessionCookie::of(client, headers) }
    }

    /// Those of a client that has this token.
    pub fn of_token(client: &ClientOrigin, token: &str) -> Self {
        let authorization = Some(format!("Bearer {token}").into_bytes());
        Self { client: client.clone(), authorization, cookie: SessionCookie::Absent }
    }

    /// Those of a client that has the session with this key.
    pub fn of_session(client: &ClientOrigin, key: PassKey) -> Self {
        Self { client: client.clone(), authorization: None, cookie: SessionCookie::Key(key) }
    }

    /// Who makes a call with this access. A session whose identity is gone ends.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn admit(
        &self,
        access: CallAccess,
        control: &ControlState,
        sessions: &Sessions,
    ) -> Result<Admitted, CallProblem> {
        let (snapshot, now) = (control.snapshot(), control.clock.wall());
        let approvers = approvers(&snapshot.rules);
        let decide = |session: Option<&LiveSession>| {
            let attempt = CallAttempt {
                access,
                client: &self.client,
                authorization: self.authorization.as_deref(),
                session,
                now,
                own_uid: own_uid(),
                approvers: &approvers,
            };
            attempt.admit(&snapshot.rules.admin)
        };
        let key = match &self.cookie {
            SessionCookie::Key(key) if self.authorization.is_none() && access != CallAccess::Public => Some(*key),
            SessionCookie::Key(_) | SessionCookie::Absent | SessionCookie::Unusable => None,
        };
        if let Some(live) = key.and_then(|key| sessions.find(key, now)) {
            let decided = decide(Some(&live));
            if !decided.as_ref().is_err_and(|problem| problem.kind == ProblemKind::SessionEnded) {
                return decided;
            }
            key.map(|key| sessions.end(key, now));
        }
        let shows_ended = self.authorization.is_none() && self.cookie != SessionCookie::Absent;
        decide(None)
            .map_err(|problem| if shows_ended && lacks_identity(problem.kind) { session_ended() } else { problem })
    }
}

/// Whether a client without an identity gets this problem.
fn lacks_identity(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::TokenMissing | ProblemKind::SocketOnly | ProblemKind::LocalOnly)
}

/// The user of this process.
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
