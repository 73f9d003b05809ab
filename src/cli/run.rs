//! `run`: the proxy, until it is stopped.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{DEFAULT_FILE, RunArguments};
use super::paint::Terminal;
use super::{Exit, load, out};
use crate::app::{App, Options, StartError, Stopped, Succession, SystemdNotify};
use crate::telemetry::{Screen, init_tracing};

/// The name of routes without a file, in place of a file name.
const NO_FILE: &str = "(run --to)";

/// Runs the proxy. The file's warnings go to its log, which is on standard error.
pub fn run(arguments: &RunArguments, terminal: Terminal) -> Exit {
    let (path, text) = match source(arguments) {
        Ok(source) => source,
        Err(why) => {
            out::print_error(&format!("{}: {why}", terminal.stderr.red("error")));
            return Exit::Usage;
        }
    };
    init_tracing(Screen::of(&std::io::stderr(), terminal.stderr));
    // Before anything else is opened: sockets may wait at numbers that the process before, or systemd, has chosen.
    let succession = match Succession::of_this_process() {
        Ok(succession) => succession.within(arguments.hand_over_patience),
        Err(error) => return refused(&StartError::Io("the previous process", error), terminal),
    };
    let options = Options {
        workers: arguments.workers.and_then(|workers| NonZeroUsize::new(usize::from(workers))),
        drain_delay: arguments.drain_delay,
        drain_deadline: arguments.drain_deadline,
        notify: SystemdNotify::from_environment(std::process::id()),
        text,
        screen: Screen::of(&std::io::stdout(), terminal.stdout),
        ..Options::new(&path)
    };
    let app = match App::succeed(options, succession) {
        Ok(app) => app,
        Err(error) => return refused(&error, terminal),
    };
    // Standard output is the access log's.
    out::print_error(&announcement(&app, arguments, &path));
    ended(app.wait())
}

/// The file, or the name and the text of routes without one.
fn source(arguments: &RunArguments) -> Result<(PathBuf, Option<Arc<str>>), String> {
    let sketch = &arguments.sketch;
    if !sketch.to.is_empty() {
        return Ok((NO_FILE.into(), Some(sketch.sketch().text().into())));
    }
    for (option, is_given, key) in [
        ("--listen", sketch.listen.is_some(), "`address` in `[[listener]]`"),
        ("--admin-listen", sketch.admin_listen.is_some(), "`address` in `[admin]`"),
    ] {
        if is_given {
            return Err(format!(
                "{option} is for routes without a file\n  = help: add --to URL, or write {key} in the file"
            ));
        }
    }
    Ok((arguments.file.clone().unwrap_or_else(|| DEFAULT_FILE.into()), None))
}

/// The exit code of a proxy that has stopped.
pub(super) const fn ended(stopped: Stopped) -> Exit {
    match stopped {
        Stopped::Drained | Stopped::Forced => Exit::Ok,
        Stopped::AtOnce => Exit::Failed,
    }
}

/// Where it listens.
fn announcement(app: &App, arguments: &RunArguments, file: &Path) -> String {
    let workers = out::count(app.workers(), "worker");
    let (version, file) = (env!("CARGO_PKG_VERSION"), file.display());
    let mut text = format!("pointsman {version}, {file}, {workers}\n");
    for (name, url) in app.urls() {
        let _ = writeln!(text, "  listener  {url}  {name}");
    }
    for address in app.admin_all() {
        let _ = writeln!(text, "  admin     http://{address}");
    }
    if !arguments.sketch.to.is_empty() {
        let _ = writeln!(text, "  to        {}", arguments.sketch.sketch().summary());
        let _ =
            writeln!(text, "`pointsman init` with the same --to and --canary writes this as a file that you can edit.");
    }
    text
}

/// Reports why it did not start.
pub(super) fn refused(error: &StartError, terminal: Terminal) -> Exit {
    match error {
        StartError::Config(diagnostics) => {
            load::print_diagnostics(diagnostics, terminal.stderr);
            Exit::BadFile
        }
        StartError::Bind(_) | StartError::Io(..) | StartError::State(_) => {
            out::print_error(&error.to_string());
            Exit::Failed
        }
    }
}
