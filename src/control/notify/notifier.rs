//! The outbox of this process, and the tasks that send from it.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::event::{NotifyEvent, SendReport};
use super::outbox::{DueSend, NotifyOutbox};
use super::queue::OutboxTime;
use super::send::{Outgoing, failed, send};
use crate::clock::Clock;
use crate::control::event::Event;
use crate::journal::{OUTBOX_MAX, host_name};
use crate::route::Rules;

/// Beyond this length, in bytes, the outbox is saved once a second.
const SAVED_AT_ONCE_MAX: usize = 128 * 1024;

/// The outbox of this process.
#[derive(Debug)]
pub(in crate::control) struct Notifier {
    pub(super) outbox: NotifyOutbox,
    /// The name of this machine.
    pub(super) host: Arc<str>,
    /// Another process sends.
    pub(super) is_passed: bool,
    /// An outbox is in the state folder, or is to be.
    pub(super) is_kept: bool,
    /// The length of what was saved last.
    saved_len: usize,
    /// Something was taken that is not saved.
    is_unsaved: bool,
    /// One test at a time.
    pub(super) testing: Arc<Semaphore>,
    /// When certificates were looked at last, by the uptime.
    pub(super) certificates_ms: Option<u64>,
}

/// When the outbox is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaveWhen {
    /// At once, unless it is long.
    Soon,
    /// At once.
    Now,
}

impl Default for Notifier {
    fn default() -> Self {
        Self {
            outbox: NotifyOutbox::default(),
            host: host_name().into(),
            is_passed: false,
            is_kept: false,
            saved_len: 0,
            is_unsaved: false,
            testing: Arc::new(Semaphore::new(1)),
            certificates_ms: None,
        }
    }
}

impl Notifier {
    /// Starts a task for each message that is due.
    pub(super) fn send_due(&mut self, rules: &Rules, now: OutboxTime, clock: Clock, events: &mpsc::Sender<Event>) {
        if self.is_passed {
            return;
        }
        for DueSend { receiver: id, notice, alerts } in self.outbox.take_due(rules, now) {
            let Some(receiver) = rules.notify.receivers.iter().find(|one| one.id == id) else {
                debug_assert!(false, "the outbox follows the rules");
                self.outbox.settle(&id, &failed("the rules do not have it".to_owned()), now, 0.5);
                continue;
            };
            let (secret, host) = (rules.notify.secret.clone(), Arc::clone(&self.host));
            let outgoing = Outgoing { receiver: receiver.clone(), secret, notice, alerts, host };
            let events = events.clone();
            let task = tokio::spawn(async move { send(&outgoing, clock.wall()).await });
            tokio::spawn(async move {
                // The task ends without an outcome by a panic only, which has been printed: the message is tried again.
                let outcome = task.await.unwrap_or_else(|_| failed("sending it has failed in this program".to_owned()));
                // Sending fails when the controller has ended.
                let _ =
                    events.send(Event::Notify(NotifyEvent::Sent(Box::new(SendReport { receiver: id, outcome })))).await;
            });
        }
    }

    /// What is to be saved now; `None`: nothing has changed, or nothing is kept here.
    pub(super) fn take_unsaved(&mut self, when: SaveWhen) -> Option<Vec<u8>> {
        self.is_unsaved |= self.outbox.take_changed();
        self.is_kept |= !self.outbox.is_empty();
        if !self.is_unsaved || !self.is_kept || (when == SaveWhen::Soon && self.saved_len > SAVED_AT_ONCE_MAX) {
            return None;
        }
        let mut bytes = self.outbox.to_saved().to_bytes();
        while bytes.len() > OUTBOX_MAX && self.outbox.drop_oldest_tenth() {
            bytes = self.outbox.to_saved().to_bytes();
        }
        (self.saved_len, self.is_unsaved) = (bytes.len(), false);
        self.outbox.take_changed();
        Some(bytes)
    }

    /// The outbox of the state folder is to have all of it.
    pub(super) const fn save_again(&mut self) {
        self.is_unsaved = true;
    }
}
