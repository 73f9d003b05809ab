//! `run`: the proxy, until it is stopped.

use std::fmt::Write;
use std::num::NonZeroUsize;

use super::args::RunArguments;
use super::entry::Terminal;
use super::{Exit, load, out};
use crate::app::{App, Notify, Options, StartError, Stopped, Succession};
use crate::telemetry::init_tracing;

/// Runs the proxy. The file's warnings go to its log, which is on standard error.
pub fn run(arguments: &RunArguments, terminal: Terminal) -> Exit {
    init_tracing(terminal.stderr.screen(&std::io::stderr()));
    // Before anything else is opened: sockets may wait at numbers that the process before, or systemd, has chosen.
    let succession = match Succession::of_this_process() {
        Ok(succession) => succession.within(arguments.hand_over_patience),
        Err(error) => return refused(&StartError::Io("the process before", error), terminal),
    };
    let options = Options {
        workers: arguments.workers.and_then(|workers| NonZeroUsize::new(usize::from(workers))),
        drain_delay: arguments.drain_delay,
        drain_deadline: arguments.drain_deadline,
        notify: Notify::from_environment(std::process::id()),
        screen: terminal.stdout.screen(&std::io::stdout()),
        ..Options::new(&arguments.file)
    };
    let app = match App::succeed(options, succession) {
        Ok(app) => app,
        Err(error) => return refused(&error, terminal),
    };
    // Standard output is the access log's.
    out::complain(&announcement(&app, arguments));
    ended(app.wait())
}

/// The exit code of a proxy that has stopped.
pub(super) const fn ended(stopped: Stopped) -> Exit {
    match stopped {
        Stopped::Drained | Stopped::Forced => Exit::Ok,
        Stopped::AtOnce => Exit::Failed,
    }
}

/// Where it listens.
fn announcement(app: &App, arguments: &RunArguments) -> String {
    let workers = out::count(app.workers(), "worker");
    let (version, file) = (env!("CARGO_PKG_VERSION"), arguments.file.display());
    let mut text = format!("pointsman {version}, {file}, {workers}\n");
    for (name, url) in app.urls() {
        let _ = writeln!(text, "  listener  {url}  {name}");
    }
    let _ = writeln!(text, "  admin     http://{}", app.admin());
    text
}

/// Tells why it did not start.
pub(super) fn refused(error: &StartError, terminal: Terminal) -> Exit {
    match error {
        StartError::Config(diagnostics) => {
            load::complain(diagnostics, terminal.stderr);
            Exit::BadFile
        }
        StartError::Bind(_) | StartError::Io(..) => {
            out::complain(&error.to_string());
            Exit::Failed
        }
    }
}
