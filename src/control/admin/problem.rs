//! Problem documents (RFC 9457): every error of the `/v1` calls, and what to do about it.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::response::{respond, text};
use super::return_path::ReturnPath;
use crate::control::dashboard::refusal_page;

/// The media type of problem documents.
const MEDIA_TYPE: &str = "application/problem+json";
const BEARER: &str = "Bearer realm=\"pointsman\"";
const UNKNOWN: &str =
    "Bearer realm=\"pointsman\", error=\"invalid_token\", error_description=\"the token is not known\"";
const EXPIRED: &str =
    "Bearer realm=\"pointsman\", error=\"invalid_token\", error_description=\"the token has expired\"";

/// A problem: its kind, this case of it, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallProblem {
    pub kind: ProblemKind,
    pub detail: String,
    pub help: String,
    /// Further members, such as a similar name.
    pub data: Vec<(&'static str, Value)>,
}

/// How a problem is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemForm {
    /// A problem document: the `/v1` calls.
    Document,
    /// Text: the calls that were there before.
    Text,
    /// An HTML page: the pages of the dashboard.
    Page,
}

macro_rules! kinds {
    ($($kind:ident $status:literal $name:literal $title:literal;)*) => {
        /// The kinds of problems.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ProblemKind { $($kind,)* }

        impl ProblemKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The last part of `type`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The title: the same for all cases.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// The status code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }
        }
    };
}

kinds! {
    BadBody 400 "bad-body" "the body of the request is invalid";
    BadQuery 400 "bad-query" "a parameter of the request is invalid";
    BadKey 400 "bad-idempotency-key" "the Idempotency-Key is invalid";
    TokenMissing 401 "token-missing" "this call needs a token";
    TokenUnknown 401 "token-unknown" "the token is not known";
    TokenExpired 401 "token-expired" "the token has expired";
    SessionEnded 401 "session-ended" "the session has ended";
    LinkUnknown 401 "link-unknown" "the link is not valid any more";
    RoleMissing 403 "role-missing" "the identity does not have the role that this call needs";
    SocketOnly 403 "socket-only" "without tokens, this call is accepted over the Unix socket only";
    LocalOnly 403 "local-only" "without tokens, this call is accepted from this machine only";
    UserNotListed 403 "user-not-listed" "this user may not act";
    UserUnknown 403 "user-unknown" "the user at the other end of the socket cannot be established";
    NoLink 403 "no-link" "this identity gets no link";
    NotApprover 403 "not-approver" "the identity may not approve this";
    SamePerson 403 "same-person" "one person fills one role of a stage";
    HostNotServed 403 "host-not-served" "this Host is not served here";
    OtherSite 403 "other-site" "requests of other sites are refused";
    NoSuchPath 404 "no-such-path" "there is no such call";
    UnknownScope 404 "unknown-scope" "the running configuration has no such route, variant, rollout or shadow";
    UnknownUpstream 404 "unknown-upstream" "the running configuration has no such upstream";
    UnknownEndpoint 404 "unknown-endpoint" "the upstream has no such endpoint";
    UnknownRollout 404 "unknown-rollout" "there is no such rollout, and no guard watches such a release";
    UnknownReceiver 404 "unknown-receiver" "the running configuration has no such receiver of notifications";
    UnknownStage 404 "unknown-stage" "the rollout has no such stage";
    WrongMethod 405 "wrong-method" "the call takes another method";
    BodyLate 408 "body-late" "the body did not arrive in time";
    NotKilled 409 "not-killed" "the scope is not killed";
    NotRolledBack 409 "not-rolled-back" "the release is not rolled back";
    NotARollout 409 "not-a-rollout" "the release of a static weight has no stages";
    WrongState 409 "wrong-state" "the act does not fit to the state of the rollout";
    AlreadyApproved 409 "already-approved" "this role has approved";
    Blocked 409 "blocked" "something stands in the way";
    KilledByFile 409 "killed-by-file" "the file makes this kill";
    Stale 409 "stale" "others acted since the state that the caller saw";
    TooManyKills 409 "too-many-kills" "too many kills are in force";
    NoReceivers 409 "no-receivers" "the running configuration has no receiver of notifications";
    TestUnderWay 409 "test-under-way" "a test of notifications is under way";
    LastUsable 409 "last-usable" "no usable endpoint would be left";
    DrainedByFile 409 "drained-by-file" "the file drains this endpoint";
    BodyTooLarge 413 "body-too-large" "the body is too large";
    MediaType 415 "media-type" "the call takes another media type";
    NothingToKill 422 "nothing-to-kill" "the scope has nothing to kill";
    KeyReused 409 "key-reused" "the Idempotency-Key belongs to another call";
    Rejected 422 "rejected" "the files are invalid";
    Failed 500 "failed" "the call failed";
    Busy 503 "busy" "too many calls of this kind at once";
    ChangeInFlight 409 "change-in-flight" "another change of the rollout is not on the disk yet";
    NotRecorded 503 "not-recorded" "the journal cannot be written";
    Stopping 503 "stopping" "the proxy is stopping";
}

impl ProblemKind {
    /// The `type` of the document.
    pub fn urn(self) -> String {
        format!("urn:pointsman:problem:{}", self.name())
    }

    /// A problem of this kind.
    pub fn because(self, detail: impl Into<String>, help: impl Into<String>) -> CallProblem {
        CallProblem { kind: self, detail: detail.into(), help: help.into(), data: Vec::new() }
    }
}

impl CallProblem {
    /// The same problem with a further member.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.data.push((name, value.into()));
        self
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let kind = self.kind;
        let mut value = json!({
            "type": kind.urn(),
            "title": kind.title(),
            "status": kind.status(),
            "detail": self.detail,
            "help": self.help,
        });
        if let Some(members) = value.as_object_mut() {
            members.extend(self.data.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        value
    }

    /// The response.
    pub fn respond(&self, form: ProblemForm) -> Response {
        // Every kind has a valid code.
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = match form {
            ProblemForm::Document => respond(status, MEDIA_TYPE, format!("{:#}\n", self.to_json())),
            ProblemForm::Text => text(status, &format!("{}: {}\n{}", self.kind.title(), self.detail, self.help)),
            ProblemForm::Page => {
                let page = refusal_page(self.kind.title(), &self.detail, &self.help);
                respond(status, "text/html; charset=utf-8", page)
            }
        };
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    /// The same before a page: one that needs an identity leads to the page for signing in, and from there back.
    pub fn respond_before(&self, form: ProblemForm, to: &ReturnPath) -> Response {
        let reason = match (form, self.kind) {
            (ProblemForm::Page, ProblemKind::TokenMissing) => "",
            (ProblemForm::Page, ProblemKind::SessionEnded) => "&problem=session",
            _ => return self.respond(form),
        };
        let mut response = self.respond(form);
        // Paths are percent-encoded.
        if let Ok(location) = HeaderValue::from_str(&format!("{}{reason}", to.sign_in())) {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    /// The challenge (RFC 6750) of a response with 401 or of a missing role.
    fn challenge(&self) -> Option<&'static str> {
        let challenges = [
            (ProblemKind::TokenMissing, BEARER),
            (ProblemKind::SessionEnded, BEARER),
            (ProblemKind::LinkUnknown, BEARER),
            (ProblemKind::TokenUnknown, UNKNOWN),
            (ProblemKind::TokenExpired, EXPIRED),
            (ProblemKind::RoleMissing, "Bearer realm=\"pointsman\", error=\"insufficient_scope\""),
        ];
        challenges.into_iter().find(|(kind, _)| *kind == self.kind).map(|(_, challenge)| challenge)
    }
}

impl ProblemForm {
    /// The form for a path that is no page.
    pub fn of(path: &str) -> Self {
        if path == "/v1" || path.starts_with("/v1/") { Self::Document } else { Self::Text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_codes_are_errors() {
        let mut names: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
    }

    #[test]
    fn a_document_has_its_members() {
        let problem = ProblemKind::UnknownScope.because("there is no route `chekout`", "see /v1/routes");
        let value = problem.with("similar", "checkout").to_json();
        assert_eq!(value["type"], "urn:pointsman:problem:unknown-scope");
        assert_eq!((&value["status"], &value["similar"]), (&json!(404), &json!("checkout")));
    }

    #[test]
    fn calls_of_v1_get_documents_and_the_others_text() {
        for (path, form) in [
            ("/v1/kill", ProblemForm::Document),
            ("/v1", ProblemForm::Document),
            ("/v10", ProblemForm::Text),
            ("/reload", ProblemForm::Text),
        ] {
            assert_eq!(ProblemForm::of(path), form, "{path}");
        }
        for kind in ProblemKind::ALL.iter().filter(|kind| kind.status() == 401) {
            let response = kind.because("", "").respond(ProblemForm::Document);
            assert!(response.headers().contains_key(header::WWW_AUTHENTICATE), "{kind:?}");
        }
        let missing = ProblemKind::TokenMissing.because("", "").respond(ProblemForm::Document);
        assert_eq!(missing.status(), 401);
        assert_eq!(missing.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"pointsman\"");
    }

    #[test]
    fn a_page_without_an_identity_leads_to_the_page_for_signing_in() {
        let led = |kind: ProblemKind| {
            let problem = kind.because("no token", "send one");
            let response = problem.respond_before(ProblemForm::Page, &ReturnPath::of("/rollouts/a?b=<c>"));
            let location = response.headers().get(header::LOCATION).map(|to| to.to_str().expect("a text").to_owned());
            (response.status().as_u16(), location.unwrap_or_default())
        };
        let to = "/sign-in?to=/rollouts/a%3Fb%3D%3Cc%3E";
        assert_eq!(led(ProblemKind::TokenMissing), (303, to.to_owned()));
        assert_eq!(led(ProblemKind::SessionEnded), (303, format!("{to}&problem=session")));
        assert_eq!(led(ProblemKind::TokenUnknown), (401, String::new()));
        let call =
            ProblemKind::TokenMissing.because("", "").respond_before(ProblemForm::Document, &ReturnPath::of("/"));
        assert_eq!(call.status(), 401);
    }

    async fn page(problem: &CallProblem, path: &str) -> String {
        let response = problem.respond_before(ProblemForm::Page, &ReturnPath::of(path));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.status().as_u16(), problem.kind.status());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a whole body");
        String::from_utf8(body.to_vec()).expect("a text")
    }

    #[tokio::test]
    async fn a_refused_page_is_html() {
        let host = ProblemKind::HostNotServed.because("not served", "add hosts = [\"edge.example\"]");
        let refused = page(&host, "/").await;
        assert!(refused.contains("hosts = [&quot;edge.example&quot;]") && !refused.contains("/sign-in"), "{refused}");
        let hostile = page(&ProblemKind::Failed.because("<img src=x onerror=alert(1)>", "x"), "/").await;
        assert!(!hostile.contains("<img"), "{hostile}");
    }
}
