//! Renders diagnostics in the style of the Rust compiler, with colours on demand.

use std::fmt::{self, Write};

use super::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
use super::source::visible;

/// Whether the text has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// For files, pipes and logs.
    Never,
    /// For terminals.
    Always,
}

struct Pen {
    text: String,
    color: Color,
}

#[derive(Clone, Copy)]
enum Ink {
    Error,
    Warning,
    Frame,
    Strong,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Error => "\x1b[1;31m",
            Self::Warning => "\x1b[1;33m",
            Self::Frame => "\x1b[1;34m",
            Self::Strong => "\x1b[1m",
        }
    }
}

impl Pen {
    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn ink(&mut self, ink: Ink, text: &str) {
        match self.color {
            Color::Never => self.text.push_str(text),
            Color::Always => {
                let _ = write!(self.text, "{}{text}\x1b[0m", ink.code());
            }
        }
    }
}

impl Diagnostics {
    /// As text, in the style of the Rust compiler; the last line has the number of errors and warnings.
    #[must_use]
    pub fn render(&self, color: Color) -> String {
        render(self, color)
    }

    /// As text, without the last line.
    #[must_use]
    pub fn listed(&self, color: Color) -> String {
        listed(self, color)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Color::Never))
    }
}

impl std::error::Error for Diagnostics {}

fn render(all: &Diagnostics, color: Color) -> String {
    let mut text = listed(all, color);
    let errors = all.errors();
    let counts = [(errors, "error"), (all.len() - errors, "warning")];
    let sum = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}{}", plural(*n)));
    let sum = sum.collect::<Vec<_>>().join(", ");
    if !sum.is_empty() {
        text.push_str(&sum);
        text.push('\n');
    }
    text
}

const fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn listed(all: &Diagnostics, color: Color) -> String {
    let mut pen = Pen { text: String::new(), color };
    for diagnostic in all {
        one(&mut pen, diagnostic);
        pen.plain("\n");
    }
    if all.more() > 0 {
        let _ = writeln!(pen.text, "… and {} more\n", all.more());
    }
    pen.text
}

fn one(pen: &mut Pen, diagnostic: &Diagnostic) {
    let ink = match diagnostic.severity {
        Severity::Error => Ink::Error,
        Severity::Warning => Ink::Warning,
    };
    pen.ink(ink, &format!("{}[{}]", diagnostic.severity.name(), diagnostic.code));
    pen.ink(Ink::Strong, &format!(": {}", printable(&diagnostic.message)));
    pen.plain("\n");
    let last = diagnostic.labels.iter().map(|label| label.line).max().unwrap_or(0);
    let gutter = last.to_string().len();
    let Some(main) = diagnostic.labels.first() else { return };
    head(pen, gutter, "-->", main);
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        diagnostic.labels.iter().filter(|l| l.line > 0).partition(|label| label.file == main.file);
    lines(pen, gutter, here, main, ink);
    for label in elsewhere {
        head(pen, gutter, ":::", label);
        lines(pen, gutter, vec![label], main, ink);
    }
    for help in diagnostic.help.iter().flat_map(|help| help.lines()) {
        pen.ink(Ink::Frame, &format!("{:gutter$} = ", ""));
        pen.ink(Ink::Strong, "help");
        pen.plain(&format!(": {}\n", printable(help)));
    }
}

fn head(pen: &mut Pen, gutter: usize, arrow: &str, label: &Label) {
    pen.ink(Ink::Frame, &format!("{:gutter$}{arrow} ", ""));
    pen.plain(&printable(&label.file));
    if label.line > 0 {
        pen.plain(&format!(":{}:{}", label.line, label.column));
    }
    pen.plain("\n");
}

fn lines(pen: &mut Pen, gutter: usize, mut labels: Vec<&Label>, main: &Label, ink: Ink) {
    labels.sort_by_key(|label| (label.line, label.column));
    if !labels.is_empty() {
        pen.ink(Ink::Frame, &format!("{:gutter$} |\n", ""));
    }
    let mut shown = 0;
    for label in labels {
        debug_assert!(label.line >= shown, "labels are in the order of their lines");
        debug_assert!(label.excerpt.width > 0, "at least one character is underlined");
        if label.line != shown {
            if shown != 0 && label.line > shown + 1 {
                pen.ink(Ink::Frame, "...\n");
            }
            pen.ink(Ink::Frame, &format!("{:>gutter$} | ", label.line));
            pen.plain(&format!("{}\n", label.excerpt.text));
            shown = label.line;
        }
        let (mark, ink) = if std::ptr::eq(label, main) { ("^", ink) } else { ("-", Ink::Frame) };
        pen.ink(Ink::Frame, &format!("{:gutter$} | ", ""));
        pen.plain(&" ".repeat(label.excerpt.before));
        pen.ink(ink, &mark.repeat(label.excerpt.width));
        if !label.text.is_empty() {
            pen.ink(ink, &format!(" {}", printable(&label.text)));
        }
        pen.plain("\n");
    }
}

/// Replaces control characters, so that a file cannot control the terminal, and cuts long texts.
fn printable(text: &str) -> String {
    let cut = text.char_indices().nth(400).map_or(text, |(at, _)| &text[..at]);
    let mut out: String = cut.chars().map(visible).collect();
    if cut.len() < text.len() {
        out.push('…');
    }
    out
}
