//! The state of an upgrade.

use crate::proxy::downstream::h2::tunnel::OpeningStream;
use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::UpgradeRequest;

/// The state of an exchange's upgrade. It is boxed, because few requests have one.
#[derive(Default)]
pub(crate) struct Upgrade(Option<Box<State>>);

enum State {
    /// The client asks for an upgrade.
    Requested(UpgradeRequest),
    /// The upstream has switched protocols: its end of the tunnel.
    Switched(UpgradeRequest, Box<TunnelEnd>),
    /// The exchange is a tunnel.
    Open,
}

impl Upgrade {
    /// The state after the client's request.
    pub(crate) fn request(asked: UpgradeRequest) -> Self {
        Self(Some(Box::new(State::Requested(asked))))
    }

    /// The client's request, until the tunnel is open.
    pub(super) fn requested(&self) -> Option<&UpgradeRequest> {
        match self.0.as_deref()? {
            State::Requested(asked) | State::Switched(asked, _) => Some(asked),
            State::Open => None,
        }
    }

    /// The upstream has switched protocols.
    pub(crate) fn switch(&mut self, upstream: TunnelEnd) {
        self.0 = match self.0.take().map(|state| *state) {
            Some(State::Requested(asked)) => Some(Box::new(State::Switched(asked, Box::new(upstream)))),
            state @ (Some(State::Switched(..) | State::Open) | None) => state.map(Box::new),
        };
    }

    /// Takes the upstream's end of the tunnel, if it has switched.
    #[inline]
    pub(super) fn take_upstream(&mut self) -> Option<Box<TunnelEnd>> {
        if !matches!(self.0.as_deref(), Some(State::Switched(..))) {
            return None;
        }
        let Some(State::Switched(asked, upstream)) = self.0.take().map(|state| *state) else { return None };
        *self = Self::request(asked);
        Some(upstream)
    }

    /// Opens the tunnel. Returns the HTTP/2 stream of a CONNECT.
    pub(crate) fn open(&mut self) -> Option<OpeningStream> {
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
