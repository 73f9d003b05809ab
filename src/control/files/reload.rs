//! A reload, from its cause to its outcome: the load task reads the files, `plan.rs` prepares and commits, and the
//! reload ends when the workers use the new generation or the wait for them has timed out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::load::{LoadError, LoadResult, NO_FILE, ROLLOUT_PLAN, Rejection, other_state_dir};
use super::load_task::run_load;
use super::pending_reload::{PendingReload, stopping};
use crate::control::adoption::wait_for_workers;
use crate::control::controller::Controller;
use crate::control::event::{Event, FilesEvent, ReloadReply};
use crate::control::outcome::{ReloadCause, ReloadOutcome};
use crate::control::state::LastReload;
use crate::control::system::ServiceState;
use crate::drain::Phase;
use crate::release::PlanRejection;
use crate::tls::Server;

/// How long a reload waits for the workers to use the new generation.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a reload waits for the first addresses of new names.
const NEW_NAMES_TIMEOUT: Duration = Duration::from_secs(2);

impl Controller {
    pub(in crate::control) fn handle_files(&mut self, event: FilesEvent) {
        match event {
            FilesEvent::Reload(cause, reply) => {
                // A requested reload reopens the log, as SIGHUP does.
                if cause == ReloadCause::Call {
                    self.log.reopen();
                }
                self.reload(cause, reply);
            }
            FilesEvent::Asked(request, reply) => {
                self.log.reopen();
                self.reload(ReloadCause::Call, Some(reply));
                if let Some(pending) = self.next_reload.as_mut().or(self.reloading.as_mut()) {
                    pending.request.get_or_insert(request);
                }
            }
            FilesEvent::Loaded(result) => self.handle_loaded(*result),
            FilesEvent::Adopted(workers) => self.handle_adopted(workers),
        }
    }

    pub(in crate::control) fn reload(&mut self, cause: ReloadCause, reply: Option<ReloadReply>) {
        if self.shutdown.phase() > Phase::Running {
            if let Some(reply) = reply {
                reply(&stopping(), None);
            }
            return;
        }
        let began = self.state.clock.now();
        if self.reloading.is_some() || self.is_successor_serving() {
            let next = self.next_reload.get_or_insert_with(|| PendingReload::new(cause, began));
            next.replies.extend(reply);
            return;
        }
        self.start_reload(PendingReload { replies: reply.into_iter().collect(), ..PendingReload::new(cause, began) });
    }

    pub(in crate::control) fn start_reload(&mut self, reloading: PendingReload) {
        // A reload for a changed file may find nothing changed: systemd is notified only of a result.
        if reloading.cause != ReloadCause::Watch {
            self.notify.send(ServiceState::Reloading, None);
        }
        if self.state.lock().file.is_none() {
            tracing::info!("{NO_FILE}");
        }
        self.reloading = Some(reloading);
        let known: BTreeSet<String> = self.state.lock().names.keys().cloned().collect();
        let (load, last_good) = (Arc::clone(&self.load), Arc::clone(&self.kept.last_good));
        let load = move || load(&last_good);
        let load_task = run_load(load, Arc::clone(&self.resolver), known, NEW_NAMES_TIMEOUT, self.state.clock);
        let events = self.sender.clone();
        tokio::spawn(async move { events.send(Event::Files(FilesEvent::Loaded(Box::new(load_task.await)))).await });
    }

    fn handle_loaded(&mut self, load: LoadResult) {
        if self.shutdown.phase() > Phase::Running {
            // The workers accept no more connections, so nothing is bound and nothing is reported.
            self.reloading.take().into_iter().for_each(PendingReload::refuse);
            return;
        }
        // A rejected configuration is watched too: its files decide whether the next reload succeeds.
        match &load.result {
            Ok(loaded) => self.watcher.follow(&loaded.watched, load.began_at),
            Err(LoadError::Invalid(diagnostics)) => self.watcher.add(diagnostics.watched(), load.began_at),
            Err(LoadError::Internal(_)) => {}
        }
        let is_endpoints_only = matches!(&load.result, Ok(loaded) if loaded.base_hash == self.state.lock().base_hash);
        if let Some(reloading) = &mut self.reloading {
            reloading.is_endpoints_only = is_endpoints_only;
        }
        let outcome = match load.result {
            Err(unread) => ReloadOutcome::Rejected(unread.into()),
            Ok(loaded) if loaded.hash == self.state.lock().hash => {
                // The same certificates, with the current names of their files.
                self.kept.last_good = Arc::new(loaded.in_use);
                let snapshot = self.store.load();
                let servers = snapshot.listeners.iter().filter_map(|one| one.tls.as_deref());
                ReloadOutcome::Unchanged {
                    generation: snapshot.generation,
                    kept: servers.flat_map(Server::stale_certificates).collect(),
                }
            }
            Ok(_) if self.is_successor_serving() => return self.hold_reload(),
            Ok(loaded) if loaded.rules.state != self.store.load().rules.state => {
                ReloadOutcome::Rejected(other_state_dir(&self.store.load().rules.state.dir, &loaded.rules.state.dir))
            }
            Ok(loaded) => {
                // Sockets that wait to be closed belong to no configuration, and the new one may need their addresses.
                self.close_sockets();
                let unfit = self.rejected_plan(&loaded.rules);
                match self.prepare(loaded, load.answers) {
                    Err(error) if error.is_address_in_use() && self.is_handing_over() => {
                        tracing::info!("reload waits for the end of the hand-over: an address is in use");
                        return self.hold_reload();
                    }
                    Err(error) => ReloadOutcome::Rejected(error.into()),
                    // Checked last, because a rejected reload must not end a hand-over.
                    Ok(_) if !self.can_apply() => return self.hold_reload(),
                    Ok(plan) => match unfit {
                        Some(PlanRejection { message, help }) => {
                            ReloadOutcome::Rejected(Rejection::new(ROLLOUT_PLAN, &message, &help))
                        }
                        None => self.commit(plan),
                    },
                }
            }
        };
        if let (ReloadOutcome::Applied { .. }, Some(reloading)) = (&outcome, &mut self.reloading) {
            let (state, edition) = (Arc::clone(&self.state), self.store.load().edition);
            let deadline = state.clock.now() + ADOPT_TIMEOUT;
            reloading.outcome = Some(outcome);
            let events = self.sender.clone();
            tokio::spawn(async move {
                let adopted = wait_for_workers(&state, edition, deadline).await;
                events.send(Event::Files(FilesEvent::Adopted(adopted))).await
            });
        } else {
            self.finish_reload(outcome);
        }
    }

    /// Holds a reload until the hand-over has ended. If it fails, the files are loaded again.
    fn hold_reload(&mut self) {
        // A hand-over that waited for this reload would never start.
        debug_assert!(self.is_handing_over(), "a reload is held only during a hand-over");
        debug_assert!(self.succession.hand_over_next.is_none(), "no hand-over waits for this reload");
        let Some(reloading) = self.reloading.take() else { return };
        match &mut self.next_reload {
            Some(next) => next.replies.extend(reloading.replies),
            None => self.next_reload = Some(reloading),
        }
    }

    /// Starts the held reload. A reload in progress does so when it ends.
    pub(in crate::control) fn start_held_reload(&mut self) {
        if self.reloading.is_none()
            && let Some(next) = self.next_reload.take()
        {
            self.start_reload(next);
        }
    }

    fn handle_adopted(&mut self, workers: usize) {
        let Some(outcome) = self.reloading.as_mut().and_then(|reloading| reloading.outcome.take()) else { return };
        self.retired.drop_unused();
        let all = self.state.counts.registry.workers;
        if workers < all {
            tracing::warn!(workers, all, "some workers still use the old generation");
        }
        self.finish_reload(outcome);
    }

    /// Records and reports the outcome, and starts the reload that was requested meanwhile.
    fn finish_reload(&mut self, outcome: ReloadOutcome) {
        let Some(reloading) = self.reloading.take() else { return };
        // A discovery may write a file of endpoints each second: its new names have been looked up.
        let has_new_rules = matches!(outcome, ReloadOutcome::Applied { .. }) && !reloading.is_endpoints_only;
        if reloading.cause != ReloadCause::Watch || has_new_rules {
            self.names.look_up_all();
        }
        let took = self.state.clock.now().duration_since(reloading.began);
        let running = self.shutdown.phase() == Phase::Running;
        if running && (reloading.cause != ReloadCause::Watch || !matches!(outcome, ReloadOutcome::Unchanged { .. })) {
            let generation = self.store.load().generation;
            let trouble =
                if matches!(outcome, ReloadOutcome::Rejected(_)) { "; the last reload was rejected" } else { "" };
            self.notify.send(ServiceState::Ready, Some(&format!("serving generation {generation}{trouble}")));
        }
        let seq = self.record_reload(reloading.cause, reloading.request, &outcome);
        self.state.record_reload(&LastReload { cause: reloading.cause, outcome, at: self.state.clock.wall(), took });
        let last = self.state.lock().last.clone();
        if let Some(last) = last {
            reloading.replies.into_iter().for_each(|reply| reply(&last.outcome, seq));
        }
        if let Some(next) = self.next_reload.take() {
            self.start_reload(next);
        } else if let Some(attempt) = self.succession.hand_over_next.take() {
            self.hand_over(attempt);
        }
    }
}
