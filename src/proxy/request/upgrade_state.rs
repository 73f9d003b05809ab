//! How far an exchange has come on its way to a tunnel.

use hyper::upgrade::OnUpgrade;

use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::UpgradeRequest;

/// How far the upgrade of an exchange has come. Few requests ask for one: its state is boxed.
#[derive(Default)]
pub(crate) struct Upgrade(Option<Box<State>>);

enum State {
    /// The client asks for it.
    Requested(UpgradeRequest),
    /// The upstream has switched protocols: its side of the tunnel.
    Switched(UpgradeRequest, Box<TunnelEnd>),
    /// The exchange is a tunnel.
    Open,
}

impl Upgrade {
    /// An upgrade that the client asks for.
    pub(crate) fn request(asked: UpgradeRequest) -> Self {
        Self(Some(Box::new(State::Requested(asked))))
    }

    /// What the client asks for, until the tunnel is open.
    pub(super) fn requested(&self) -> Option<&UpgradeRequest> {
        match self.0.as_deref()? {
            State::Requested(asked) | State::Switched(asked, _) => Some(asked),
            State::Open => None,
        }
    }

    /// The upstream has switched to what the client asks for.
    pub(crate) fn switch(&mut self, upstream: TunnelEnd) {
        self.0 = match self.0.take().map(|state| *state) {
            Some(State::Requested(asked)) => Some(Box::new(State::Switched(asked, Box::new(upstream)))),
            state @ (Some(State::Switched(..) | State::Open) | None) => state.map(Box::new),
        };
    }

    /// The upstream's side of the tunnel, when it has switched.
    #[inline]
    pub(super) fn take_upstream(&mut self) -> Option<Box<TunnelEnd>> {
        if !matches!(self.0.as_deref(), Some(State::Switched(..))) {
            return None;
        }
        let Some(State::Switched(asked, upstream)) = self.0.take().map(|state| *state) else { return None };
        *self = Self::request(asked);
        Some(upstream)
    }

    /// Opens it. Gives the stream of HTTP/2 that was asked for, if it was one.
    pub(crate) fn open(&mut self) -> Option<OnUpgrade> {
        let state = self.0.get_or_insert_with(|| Box::new(State::Open));
        match std::mem::replace(&mut **state, State::Open) {
            State::Requested(asked) | State::Switched(asked, _) => asked.into_stream(),
            State::Open => None,
        }
    }

    /// Whether the exchange is a tunnel.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.0.as_deref(), Some(State::Open))
    }
}
