//! Workflow commands of GitHub Actions: one line a diagnostic, which becomes an annotation of the file.

use std::fmt::Write as _;

use crate::config::{Diagnostic, Diagnostics, Severity};

/// All diagnostics as workflow commands. The standard input is called `name`; without one it is no file to annotate.
pub(super) fn annotations(diagnostics: &Diagnostics, stdin: Option<&str>) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&annotation(diagnostic, stdin));
        out.push('\n');
    }
    if diagnostics.more() > 0 {
        let _ = writeln!(out, "::notice::and {} more", diagnostics.more()); // writing to memory cannot fail
    }
    out
}

fn annotation(diagnostic: &Diagnostic, stdin: Option<&str>) -> String {
    let command = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut properties = Vec::new();
    if let Some(label) = diagnostic.labels.first().filter(|label| stdin != Some(&*label.file)) {
        properties.push(format!("file={}", property(&label.file)));
        if label.line > 0 {
            let (end_line, end_column) = label.end();
            properties.push(format!("line={},endLine={end_line}", label.line));
            properties.push(format!("col={},endColumn={end_column}", label.column));
        }
    }
    properties.push(format!("title={}", property(diagnostic.code)));
    let mut message = diagnostic.message.clone();
    let others = diagnostic.labels.iter().skip(1).filter(|label| !label.text.is_empty() && label.line > 0);
    let lines = others.map(|label| format!("{}:{}: {}", label.file, label.line, label.text));
    let help = diagnostic.help.iter().flat_map(|help| help.lines()).map(|help| format!("help: {help}"));
    for line in lines.chain(help) {
        message.push('\n');
        message.push_str(&line);
    }
    format!("::{command} {}::{}", properties.join(","), data(&message))
}

/// The message after `::`, escaped: a line end would end the command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, which `,` and `::` would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    #[test]
    fn diagnostics_are_annotations() {
        let head = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n";
        let text = format!("{head}[admin]\nsocket = 'off'\nsocket_group = 'x'\n[state]\ncolour = '100 %'\n");
        let found = load_text("a,b:c.toml", &text, &|_| None).unwrap_err();
        let lines = annotations(&found, None);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(
            lines[1],
            "::error file=a%2Cb%3Ac.toml,line=8,endLine=8,col=1,endColumn=7,title=unknown-key::\
             unknown key `colour` in `[state]`%0Ahelp: the keys are `dir`"
        );
        assert!(lines[0].starts_with("::warning file=a%2Cb%3Ac.toml,line=6,"), "{}", lines[0]);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn standard_input_is_no_file() {
        let found = load_text("<stdin>", "schema = 2", &|_| None).unwrap_err();
        let lines = annotations(&found, Some("<stdin>"));
        assert!(lines.lines().all(|line| line.starts_with("::error title=")), "{lines}");
    }

    #[test]
    fn nothing_ends_a_command_early() {
        assert_eq!(property("a%b\r\n,c:d"), "a%25b%0D%0A%2Cc%3Ad");
        assert_eq!(data("100 %\n::error::x"), "100 %25%0A::error::x");
    }
}
