//! Notifies systemd (`sd_notify(3)`): one datagram of lines to the socket in `NOTIFY_SOCKET`; without that variable,
//! nothing is sent. Written here because the crates for it read the environment for every message.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::clock::Clock;

/// Sends notifications to systemd.
#[derive(Clone, Debug, Default)]
pub struct SystemdNotify {
    to: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

/// A state of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// The service is ready, or ready again after a reload.
    Ready,
    /// The service reloads its files.
    Reloading,
    /// The service is stopping.
    Stopping,
    /// The workers are alive: resets the watchdog.
    Watchdog,
    /// The process with this id is the main process from now on.
    MainPid(u32),
}

impl SystemdNotify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment(pid: u32) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let to = variable("NOTIFY_SOCKET").and_then(|name| {
            address(&name)
                .inspect_err(|error| tracing::error!(name, %error, "systemd's notify socket cannot be used"))
                .ok()
        });
        let other = variable("WATCHDOG_PID").is_some_and(|watched| watched.parse() != Ok(pid));
        let watchdog = variable("WATCHDOG_USEC").filter(|_| !other).and_then(|usec| usec.parse().ok());
        Self { to, watchdog: watchdog.filter(|usec| *usec > 0).map(Duration::from_micros) }
    }

    /// Uses this socket and this watchdog interval.
    ///
    /// # Errors
    /// When `name` is not a socket address.
    pub fn to(name: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        Ok(Self { to: Some(address(name)?), watchdog })
    }

    /// The watchdog interval: systemd restarts the service without a notification in this time.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends a state, and a status text for people.
    pub fn send(&self, state: ServiceState, status: Option<&str>) {
        let mut text = match state {
            ServiceState::Ready => "READY=1".to_owned(),
            ServiceState::Reloading => {
                format!("RELOADING=1\nMONOTONIC_USEC={}", Clock.monotonic().as_micros())
            }
            ServiceState::Stopping => "STOPPING=1".to_owned(),
            ServiceState::Watchdog => "WATCHDOG=1".to_owned(),
            ServiceState::MainPid(pid) => format!("MAINPID={pid}"),
        };
        if let Some(status) = status {
            text.push_str("\nSTATUS=");
            text.extend(status.chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
        }
        self.send_text(&text);
    }

    fn send_text(&self, text: &str) {
        let Some(to) = &self.to else { return };
        // Non-blocking, because the control thread must not wait.
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), to)
        });
        if let Err(error) = sent {
            tracing::warn!(text, %error, "systemd could not be notified");
        }
    }
}

/// A path, or with `@` an abstract name.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_mins(1))).expect("set");
        let mut text = [0; 1024];
        let bytes = socket.recv(&mut text).expect("a notification");
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    }

    #[test]
    fn notifications_reach_sockets_with_and_without_a_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let with_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("pointsman-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let without = UnixDatagram::bind_addr(&abstract_name).expect("bound");
        for (socket, name) in [(with_path, path.display().to_string()), (without, format!("@{name}"))] {
            let notify = SystemdNotify::to(&name, None).expect("a name");
            notify.send(ServiceState::Ready, Some("two\nlines"));
            assert_eq!(received(&socket), "READY=1\nSTATUS=two lines");
            notify.send(ServiceState::MainPid(7), None);
            assert_eq!(received(&socket), "MAINPID=7");
            notify.send(ServiceState::Reloading, None);
            let text = received(&socket);
            let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("with the time");
            assert!(usec.parse::<u128>().expect("a number") > 0);
        }
    }

    #[test]
    fn a_missing_socket_is_no_error() {
        SystemdNotify::default().send(ServiceState::Ready, None);
        let gone = SystemdNotify::to("/nowhere/notify", None).expect("a name");
        gone.send(ServiceState::Stopping, None);
    }
}
