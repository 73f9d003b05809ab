//! What a hand-over passes on about the endpoints of an upstream.

use std::collections::HashMap;

use super::endpoint::EndpointMemory;
use super::setting::EndpointKey;
use super::upstream::{Member, UpstreamHealth};

impl UpstreamHealth {
    /// What a hand-over passes on: the endpoints that are not well.
    #[must_use]
    pub fn memories(&self, now_ms: u64) -> Vec<(EndpointKey, EndpointMemory)> {
        let members = self.lock();
        members.iter().filter_map(|member| Some((member.key, member.health.memory(now_ms)?))).collect()
    }

    /// Takes over what a hand-over passed on. An endpoint that the upstream does not have is ignored.
    pub fn restore(&self, memories: &[(EndpointKey, EndpointMemory)], now_ms: u64) {
        let members = self.lock();
        let by_key: HashMap<EndpointKey, &Member> = members.iter().map(|member| (member.key, member)).collect();
        for (key, memory) in memories {
            if let Some(member) = by_key.get(key) {
                member.health.restore(*memory, now_ms);
            }
        }
        self.refresh(&members, now_ms);
    }
}
