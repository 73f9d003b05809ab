//! The caller of a request: as `identify` finds it, for the stages that decide by it, and the part of it that is kept.

use crate::route::{Caller, RequestHead, TokenFault};

/// The caller of a request and the head that it is read from. It borrows from both and is dropped before the request is
/// forwarded.
pub(crate) struct IdentifiedCaller<'a> {
    pub(crate) head: RequestHead<'a>,
    pub(super) caller: Caller<'a>,
    /// The identity in the route's sticky cookie.
    pub(crate) cookie: Option<&'a str>,
    /// The identity that is issued, since the caller has none.
    pub(super) issued: Option<Box<str>>,
    /// Why the caller's token is rejected.
    pub(crate) token: Option<TokenFault>,
}

/// What is kept of a caller for the answer, the log and templates.
#[derive(Default)]
pub(crate) struct CallerIdentity {
    pub(crate) tenant: Option<Box<str>>,
    /// The cookie identity that was issued.
    pub(super) issued: Option<Box<str>>,
    /// Why its token was rejected.
    pub(crate) token: Option<TokenFault>,
}

impl IdentifiedCaller<'_> {
    /// The identity of the sticky cookie: the one that came, else the one that is issued.
    pub(super) fn cookie_identity(&self) -> Option<&str> {
        self.cookie.or(self.issued.as_deref())
    }

    /// What is kept of it.
    pub(crate) fn into_identity(self) -> CallerIdentity {
        let tenant = self.caller.tenant.map(|tenant| Box::from(&*tenant));
        CallerIdentity { tenant, issued: self.issued, token: self.token }
    }
}
