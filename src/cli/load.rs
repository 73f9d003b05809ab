//! Loading a file for a command: the process's environment, and diagnostics as the terminal wants them.

use std::io::Read;
use std::path::Path;

use super::out;
use super::paint::Paint;
use crate::config::{self, Color, Diagnostics, Loaded};

/// Reads, validates and compiles a file, as `run` does.
pub fn load(file: &Path) -> Result<Loaded, Diagnostics> {
    config::load(file, &|name| std::env::var(name).ok())
}

/// Reads, validates and compiles what comes, such as standard input.
pub fn load_input(name: &str, input: impl Read) -> Result<Loaded, Diagnostics> {
    config::load_input(name, input, &|name| std::env::var(name).ok())
}

/// Reads a file without reporting its warnings; errors are reported.
pub fn load_quietly(file: &Path, paint: Paint) -> Option<Loaded> {
    load(file).map_err(|diagnostics| print_diagnostics(&diagnostics, paint)).ok()
}

/// Writes diagnostics to standard error, when there are any.
pub fn print_diagnostics(diagnostics: &Diagnostics, paint: Paint) {
    if !diagnostics.is_empty() {
        out::print_error(&diagnostics.render(color(paint)));
    }
}

/// Writes diagnostics to standard error, for a command that reports their number itself.
pub fn print_each(diagnostics: &Diagnostics, paint: Paint) {
    if !diagnostics.is_empty() {
        out::print_error(&diagnostics.listed(color(paint)));
    }
}

fn color(paint: Paint) -> Color {
    if paint.is_on() { Color::Always } else { Color::Never }
}
