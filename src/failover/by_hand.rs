//! What people do with endpoints, under the lock of their upstream.

use std::sync::atomic::Ordering::Relaxed;

use super::cause::FailureCause;
use super::endpoint::EndpointHealth;
use super::transition::Transition;
use super::upstream::UpstreamHealth;

impl UpstreamHealth {
    /// A person ejects an endpoint, until a person admits it. `None`: it is ejected by a person already.
    pub fn eject_by_hand(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        if endpoint.ejected() == Some(FailureCause::ByHand) {
            return None;
        }
        let (nth, _) = endpoint.history();
        endpoint.eject(FailureCause::ByHand, now_ms, 0);
        self.ejections[FailureCause::ByHand as usize].fetch_add(1, Relaxed);
        self.refresh(&members, now_ms);
        Some(Transition::Ejected { cause: FailureCause::ByHand, for_ms: None, nth })
    }

    /// A person admits an endpoint, whatever ejected it. `None`: it is not ejected.
    pub fn admit_by_hand(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        endpoint.ejected()?;
        endpoint.set_in_row(0);
        Some(self.admit(endpoint, now_ms, &members))
    }

    /// A person drains an endpoint: it gets no new request. `None`: it is drained already.
    pub fn drain(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        if endpoint.is_drained_by_hand() {
            return None;
        }
        endpoint.drain();
        self.refresh(&members, now_ms);
        Some(Transition::Drained)
    }

    /// A person ends the drain of an endpoint. `None`: it is not drained.
    pub fn undrain(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        if !endpoint.is_drained_by_hand() {
            return None;
        }
        endpoint.undrain();
        self.refresh(&members, now_ms);
        Some(Transition::Undrained)
    }
}
