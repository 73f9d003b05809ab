//! Handles the events of name resolution: results, and reasons to look up again.

use super::name_state::LookupResult;
use crate::control::controller::Controller;
use crate::control::event::ResolverEvent;

impl Controller {
    pub(in crate::control) fn handle_resolver(&mut self, event: ResolverEvent) {
        match event {
            ResolverEvent::Resolved(name, answered) => self.resolved(&name, &answered),
            ResolverEvent::Unreachable(name) => self.names.look_up(&name),
            ResolverEvent::NamesChanged => self.names.look_up_all(),
        }
    }

    fn resolved(&mut self, name: &str, answered: &LookupResult) {
        if !self.state.lock().names.contains_key(name) || !self.state.record_lookup(name, answered) {
            return;
        }
        tracing::info!(name, addresses = self.state.address_list(name), "name resolved to new addresses");
        self.publish_addresses(name);
    }
}
