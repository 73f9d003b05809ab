//! What happens to the names of upstreams: their answers, and reasons to ask again.

use super::resolution::Answered;
use crate::control::controller::Controller;
use crate::control::event::NetEvent;

impl Controller {
    pub(in crate::control) fn handle_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Resolved(name, answered) => self.resolved(&name, &answered),
            NetEvent::Unreachable(name) => self.names.look_up(&name),
            NetEvent::NamesChanged => self.names.look_up_all(),
        }
    }

    fn resolved(&mut self, name: &str, answered: &Answered) {
        if !self.ledger.pages().names.contains_key(name) || !self.ledger.resolved(name, answered) {
            return;
        }
        tracing::info!(name, addresses = self.ledger.listed(name), "name resolved to new addresses");
        self.publish_addresses(name);
    }
}
