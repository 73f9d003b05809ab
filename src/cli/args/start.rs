//! Commands that start from nothing: `init`, and what `run` takes instead of a file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::address;
use crate::cli::sketch::{Canary, Sketch};

/// The file that every command reads when none is named.
pub const DEFAULT_FILE: &str = "routes.toml";

/// Routes that are described by options.
#[derive(Clone, Debug, Args)]
pub struct SketchArguments {
    /// Where requests go.
    #[arg(long, value_name = "URL", value_parser = address::endpoint)]
    #[arg(help = "The upstream: 3000, :3000, HOST:3000 or a URL; repeat for several endpoints of one service")]
    pub to: Vec<String>,
    /// Where some of them go instead.
    #[arg(long, value_name = "URL=WEIGHT", requires = "to")]
    #[arg(help = "Send a percentage of the callers to another version, for example 3001=5")]
    pub canary: Option<Canary>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS", value_parser = address::listening)]
    #[arg(help = "The address to listen on [default: 127.0.0.1:8080]")]
    pub listen: Option<SocketAddr>,
    /// Where admin listens.
    #[arg(long, value_name = "ADDRESS", value_parser = address::listening)]
    #[arg(help = "The admin listener's address [default: 127.0.0.1:9900]")]
    pub admin_listen: Option<SocketAddr>,
}

impl SketchArguments {
    /// The routes that the options describe.
    #[must_use]
    pub fn sketch(&self) -> Sketch {
        let Self { to, canary, listen, admin_listen } = self.clone();
        Sketch { to, canary, listen, admin: admin_listen }
    }
}

/// `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file that exists is never overwritten.

EXAMPLE
  pointsman init                              # routes.toml, to be edited
  pointsman init --to :3000 --canary :3001=5  # with these addresses filled in
  pointsman init - --to app:3000 | less       # printed, not written")]
pub struct InitArguments {
    /// The file to write.
    #[arg(default_value = DEFAULT_FILE, help = "The file to write; `-` prints it")]
    pub file: PathBuf,
    /// The routes.
    #[command(flatten)]
    pub sketch: SketchArguments,
    /// Print it.
    #[arg(long, help = "Print it instead of writing a file")]
    pub stdout: bool,
}
