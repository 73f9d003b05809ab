//! Signals, as events.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::event::{Event, ProcessEvent};

/// Whether the process's signals are ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// `SIGTERM` and `SIGINT` drain, `SIGHUP` reloads, `SIGUSR2` hands over.
    #[default]
    Handle,
    /// They are somebody else's.
    Ignore,
}

/// Turns signals into events from now on.
///
/// # Errors
/// When the system does not let us.
pub(in crate::control) fn listen_to_signals(events: mpsc::Sender<Event>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    // Whoever writes learns that nobody reads by an error. The standard library ignores this signal too, but gives it its
    // deadly effect back when an `exec` has failed.
    drop(signal(SignalKind::pipe())?);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                _ = terminate.recv() => ProcessEvent::Terminate,
                _ = interrupt.recv() => ProcessEvent::Terminate,
                _ = hangup.recv() => ProcessEvent::Hangup,
                _ = user2.recv() => ProcessEvent::HandOver,
            };
            if events.send(Event::Process(event)).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
