//! The caller of a request: as the stages see it, and the part that is kept for the response and the log.

use crate::route::{Caller, RequestHead, TokenFault};

/// The caller of a request. It borrows from the request's head and is dropped before the request is forwarded.
pub(crate) struct IdentifiedCaller<'a> {
    pub(crate) head: RequestHead<'a>,
    pub(super) caller: Caller<'a>,
    /// The identity in the sticky cookie of the request.
    pub(crate) cookie: Option<&'a str>,
    /// A new identity, if the caller has none.
    pub(super) issued: Option<Box<str>>,
    /// Why the token was rejected.
    pub(crate) token: Option<TokenFault>,
}

/// The caller's data for the response, the log and templates.
#[derive(Default)]
pub(crate) struct CallerIdentity {
    pub(crate) tenant: Option<Box<str>>,
    /// The identity that the response issues as a sticky cookie.
    pub(super) issued: Option<Box<str>>,
    /// Why the token was rejected.
    pub(crate) token: Option<TokenFault>,
}

impl IdentifiedCaller<'_> {
    /// The identity of the sticky cookie: from the request, or newly issued.
    pub(super) fn cookie_identity(&self) -> Option<&str> {
        self.cookie.or(self.issued.as_deref())
    }

    /// The part that outlives the request's head.
    pub(crate) fn into_identity(self) -> CallerIdentity {
        let tenant = self.caller.tenant.map(|tenant| Box::from(&*tenant));
        CallerIdentity { tenant, issued: self.issued, token: self.token }
    }
}
