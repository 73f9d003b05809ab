//! What happens to the files of the configuration: a reload, from its cause to its outcome. It is read on a thread that
//! may block, prepared and committed (`plan.rs`), and ends when the workers have followed or were waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::reading::read;
use super::reloading::{Reloading, stopping};
use super::source::{NO_FILE, Reading, Unread};
use crate::control::controller::Controller;
use crate::control::event::{Event, FilesEvent, Reply};
use crate::control::ledger::{LastReload, Ledger};
use crate::control::outcome::{Cause, Outcome};
use crate::control::system::State;
use crate::drain::Phase;
use crate::route::Generation;
use crate::tls::Server;

/// How long a reload waits for the workers to follow.
const ADOPT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a reload waits for the first answers of names that are new.
const NEW_NAMES_PATIENCE: Duration = Duration::from_secs(2);

impl Controller {
    pub(in crate::control) fn handle_files(&mut self, event: FilesEvent) {
        match event {
            FilesEvent::Reload(cause, reply) => {
                // Somebody asks for it, as with SIGHUP.
                if cause == Cause::Asked {
                    self.log.reopen();
                }
                self.reload(cause, reply);
            }
            FilesEvent::Read(reading) => self.was_read(*reading),
            FilesEvent::Adopted(workers) => self.adopted(workers),
        }
    }

    pub(in crate::control) fn reload(&mut self, cause: Cause, reply: Option<Reply>) {
        if self.stopping.phase() > Phase::Running {
            if let Some(reply) = reply {
                reply(&stopping());
            }
            return;
        }
        let began = self.ledger.clock.now();
        if self.reloading.is_some() || self.is_handed_over_soon() {
            let next = self.next.get_or_insert_with(|| Reloading::new(cause, began));
            next.replies.extend(reply);
            return;
        }
        self.begin(Reloading { replies: reply.into_iter().collect(), ..Reloading::new(cause, began) });
    }

    pub(in crate::control) fn begin(&mut self, reloading: Reloading) {
        // What is only looked at may be as it was.
        if reloading.cause != Cause::Watch {
            self.notify.tell(State::Reloading, None);
        }
        if self.ledger.pages().file.is_none() {
            tracing::info!("{NO_FILE}");
        }
        self.reloading = Some(reloading);
        let known: BTreeSet<String> = self.ledger.pages().names.keys().cloned().collect();
        let (load, last_good) = (Arc::clone(&self.load), Arc::clone(&self.last_good));
        let load = move || load(&last_good);
        let reading = read(load, Arc::clone(&self.resolver), known, NEW_NAMES_PATIENCE, self.ledger.clock);
        let events = self.sender.clone();
        tokio::spawn(async move { events.send(Event::Files(FilesEvent::Read(Box::new(reading.await)))).await });
    }

    fn was_read(&mut self, reading: Reading) {
        if self.stopping.phase() > Phase::Running {
            // The workers accept no more connections: nothing is bound and nothing is reported.
            self.reloading.take().into_iter().for_each(Reloading::refuse);
            return;
        }
        // Also for what is rejected: these files decide whether the next reload is.
        match &reading.result {
            Ok(loaded) => self.watcher.follow(&loaded.watched, reading.began_at),
            Err(Unread::Refused(diagnostics)) => self.watcher.also(diagnostics.watched(), reading.began_at),
            Err(Unread::Broken(_)) => {}
        }
        let outcome = match reading.result {
            Err(unread) => Outcome::Rejected(unread.into()),
            Ok(loaded) if loaded.hash == self.ledger.pages().hash => {
                // The same certificates, under the names that their files have now.
                self.last_good = Arc::new(loaded.in_use);
                let snapshot = self.store.load();
                let servers = snapshot.listeners.iter().filter_map(|one| one.tls.as_deref());
                Outcome::Unchanged {
                    generation: snapshot.generation,
                    kept: servers.flat_map(Server::stale_certificates).collect(),
                }
            }
            Ok(_) if self.is_handed_over_soon() => return self.hold(),
            Ok(loaded) => {
                // What is to be closed belongs to no configuration any more, and one of its addresses may be wanted again.
                self.close();
                match self.prepare(loaded, reading.answers) {
                    Err(unplanned) if unplanned.is_address_in_use() && self.is_handing_over() => {
                        tracing::info!("reload waits for the end of the hand-over: an address is in use");
                        return self.hold();
                    }
                    Err(unplanned) => Outcome::Rejected(unplanned.into()),
                    // Asked last: what is rejected does not end a hand-over.
                    Ok(_) if !self.may_apply() => return self.hold(),
                    Ok(plan) => self.commit(plan),
                }
            }
        };
        if let (Outcome::Applied { generation, .. }, Some(reloading)) = (&outcome, &mut self.reloading) {
            let adopting = adopting(Arc::clone(&self.ledger), *generation);
            reloading.outcome = Some(outcome);
            let events = self.sender.clone();
            tokio::spawn(async move { events.send(Event::Files(FilesEvent::Adopted(adopting.await))).await });
        } else {
            self.finish(outcome);
        }
    }

    /// Waits with a reload for the end of the hand-over: if it comes to nothing, the files are read again.
    fn hold(&mut self) {
        // A hand-over that waits for this reload would not begin.
        debug_assert!(self.is_handing_over() && self.succession.hand_over_next.is_none());
        let Some(reloading) = self.reloading.take() else { return };
        match &mut self.next {
            Some(next) => next.replies.extend(reloading.replies),
            None => self.next = Some(reloading),
        }
    }

    /// Begins the reload that was held. A reload under way does so when it ends.
    pub(in crate::control) fn begin_held(&mut self) {
        if self.reloading.is_none()
            && let Some(next) = self.next.take()
        {
            self.begin(next);
        }
    }

    fn adopted(&mut self, workers: usize) {
        let Some(outcome) = self.reloading.as_mut().and_then(|reloading| reloading.outcome.take()) else { return };
        self.retired.bury();
        let all = self.ledger.counts.registry.workers;
        if workers < all {
            tracing::warn!(workers, all, "some workers still use the old generation");
        }
        self.finish(outcome);
    }

    /// Remembers, tells, and begins the reload that was asked for meanwhile.
    fn finish(&mut self, outcome: Outcome) {
        let Some(reloading) = self.reloading.take() else { return };
        if reloading.cause != Cause::Watch || matches!(outcome, Outcome::Applied { .. }) {
            self.names.look_up_all();
        }
        let took = self.ledger.clock.now().duration_since(reloading.began);
        let running = self.stopping.phase() == Phase::Running;
        if running && (reloading.cause != Cause::Watch || !matches!(outcome, Outcome::Unchanged { .. })) {
            let generation = self.store.load().generation;
            let trouble = if matches!(outcome, Outcome::Rejected(_)) { "; the last reload was rejected" } else { "" };
            self.notify.tell(State::Ready, Some(&format!("serving generation {generation}{trouble}")));
        }
        self.ledger.note(&LastReload { cause: reloading.cause, outcome, at: self.ledger.clock.wall(), took });
        let last = self.ledger.pages().last.clone();
        if let Some(last) = last {
            reloading.replies.into_iter().for_each(|reply| reply(&last.outcome));
        }
        if let Some(next) = self.next.take() {
            self.begin(next);
        } else if let Some(attempt) = self.succession.hand_over_next.take() {
            self.hand_over(attempt);
        }
    }
}

/// Waits until all workers decide with `generation`, or for as long as is bearable.
pub(in crate::control) async fn adopting(ledger: Arc<Ledger>, generation: Generation) -> usize {
    let deadline = ledger.clock.now() + ADOPT_PATIENCE;
    loop {
        let adopted = ledger.counts.registry.adopted(generation);
        if adopted >= ledger.counts.registry.workers || ledger.clock.now() >= deadline {
            return adopted;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
