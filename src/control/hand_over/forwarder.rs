//! Kills and revives for the process before: after a hand-over it still serves requests and streams, and follows what
//! this one decides.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::channel::{HandOverChannel, HandOverMessage};
use crate::control::event::{Event, ReleaseEvent};
use crate::journal::Record;

/// How many records wait to be sent.
const WAITING_MAX: usize = 256;
/// How long the old process waits for one message, before it looks again.
const RECEIVE_TIMEOUT: Duration = Duration::from_mins(1);

/// Sends records to the process before, on a thread that may block.
#[derive(Debug)]
pub(in crate::control) struct RecordForwarder(mpsc::Sender<Arc<Record>>);

impl RecordForwarder {
    /// Starts. It ends with the other process.
    pub(super) fn start(channel: Arc<HandOverChannel>) -> Self {
        let (sender, mut records) = mpsc::channel::<Arc<Record>>(WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            while let Some(record) = records.blocking_recv() {
                if let Err(error) = channel.send(&HandOverMessage::Decided(Box::new(Record::clone(&record))), None) {
                    tracing::debug!(%error, "the process before has ended");
                    return;
                }
            }
        });
        Self(sender)
    }

    /// Sends a record, unless the other process has ended.
    pub fn send(&self, record: &Arc<Record>) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.0.try_send(Arc::clone(record)) {
            tracing::error!(seq = record.seq, "the process before does not follow: it drains under older kills");
        }
    }
}

/// Sends kills that are not on the disk to the new process, before the farewell.
#[derive(Debug)]
pub(in crate::control) struct KillSender(pub(super) HandOverChannel);

impl KillSender {
    /// Sends a kill; blocks while the other process does not read.
    pub fn send(&self, record: &Record) {
        if let Err(error) = self.0.send(&HandOverMessage::Decided(Box::new(record.clone())), None) {
            tracing::error!(seq = record.seq, %error, "the new process does not know a kill that is not on the disk");
        }
    }
}

/// Receives what the new process decides, on a thread that may block, until that ends.
pub(super) fn follow_successor(channel: HandOverChannel, events: mpsc::Sender<Event>) {
    tokio::task::spawn_blocking(move || {
        loop {
            match channel.receive(RECEIVE_TIMEOUT) {
                Ok(Some((HandOverMessage::Decided(record), _))) => {
                    if events.blocking_send(Event::Release(ReleaseEvent::OfSuccessor(record))).is_err() {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Ok(None) | Err(_) => return,
            }
        }
    });
}
