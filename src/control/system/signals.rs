//! Turns signals into events.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::event::{Event, ProcessEvent};

/// Whether the proxy handles the signals of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// `SIGTERM` and `SIGINT` drain, `SIGHUP` reloads, `SIGUSR2` hands over.
    #[default]
    Handle,
    /// The embedding program handles signals.
    Ignore,
}

impl Signals {
    /// Lets a write beyond the limit for file sizes (`ulimit -f`) fail: the default action of `SIGXFSZ` ends the process.
    pub(in crate::control) fn outlive_file_limit(self) {
        if self == Self::Handle {
            // Where this fails, the default action stays.
            drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())));
        }
    }
}

/// Starts to turn signals into events.
///
/// # Errors
/// When a signal handler cannot be installed.
pub(in crate::control) fn listen_to_signals(events: mpsc::Sender<Event>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    // Ignore `SIGPIPE`: a write to a closed pipe returns an error. The standard library ignores it too, but restores
    // the default action when an `exec` has failed.
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
