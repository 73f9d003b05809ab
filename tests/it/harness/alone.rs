//! The proxy in a process of its own, for tests of the whole process: its memory, its descriptors, its signals.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::proxy::{Setup, series};
use super::raw::Raw;
use crate::process::Running;

/// A proxy in a process of its own. Dropping it kills the process.
pub struct Alone {
    _running: Running,
    /// The address of its first listener.
    pub address: SocketAddr,
    /// The address of its admin listener.
    pub admin: SocketAddr,
    dir: tempfile::TempDir,
}

impl Setup {
    /// Starts the binary with this text.
    #[track_caller]
    pub fn start_alone(self, toml: &str) -> Alone {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("routes.toml"), self.text(toml, &dir)).unwrap();
        let mut running = Running::start(dir.path(), &["run", "--workers", &self.workers.to_string()]);
        let mut address = |label| running.word_after(label).trim_start_matches("http://").parse().unwrap();
        let (address, admin) = (address("listener"), address("admin"));
        Alone { _running: running, address, admin, dir }
    }
}

impl Alone {
    /// The path of the socket that accepts acts.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("state/run/admin.sock")
    }

    /// The value of one series.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        series(&Raw::connect(self.admin).send(head).read_response().text(), name)
    }
}
