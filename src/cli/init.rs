//! `init`: writes a small routes file to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, anyhow};

use super::args::{DEFAULT_FILE, InitArguments};
use super::paint::Terminal;
use super::{Exit, out};

/// Writes or prints the file.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn init(arguments: &InitArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let sketch = arguments.sketch.sketch();
    if arguments.stdout || arguments.file == Path::new("-") {
        out::print(&sketch.text())?;
        return Ok(Exit::Ok);
    }
    let file = &arguments.file;
    write(file, &sketch.text())?;
    let (shown, paint) = (file.display(), terminal.stdout);
    let named = if file == Path::new(DEFAULT_FILE) { String::new() } else { format!(" {shown}") };
    let listens = format!("http://{}", sketch.listen());
    out::print(&format!("{}: {listens} → {}", paint.green(&format!("wrote {shown}")), sketch.summary()))?;
    out::print(&format!(
        "\nEdit the endpoints if they are others, then:\n  {}\n  {}",
        paint.cyan(&format!("pointsman check{named}")),
        paint.cyan(&format!("pointsman run{named}")),
    ))?;
    Ok(Exit::Ok)
}

/// Writes a file that is not there yet.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut open = OpenOptions::new().write(true).create_new(true).open(file).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            let help = "name another file: `pointsman init FILE`, or print it: `pointsman init -`";
            anyhow!("{} exists, and init overwrites nothing\n  = help: {help}", file.display())
        } else {
            anyhow::Error::new(error).context(format!("cannot write {}", file.display()))
        }
    })?;
    open.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}
