//! The Prometheus text format: families with help and type, samples with escaped labels. A family without samples is
//! left out.

use std::fmt::{Display, Write as _};

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A text in the making.
#[derive(Debug, Default)]
pub(super) struct Text {
    written: String,
    family: &'static str,
    head: String,
}

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a sample to the family; `suffix` is for the parts of a histogram.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.written.push_str(&std::mem::take(&mut self.head));
        self.written.push_str(self.family);
        self.written.push_str(suffix);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.written.push(if i == 0 { '{' } else { ',' });
            self.written.push_str(name);
            self.written.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.written.push_str("\\\\"),
                    '"' => self.written.push_str("\\\""),
                    '\n' => self.written.push_str("\\n"),
                    c => self.written.push(c),
                }
            }
            self.written.push('"');
        }
        if !labels.is_empty() {
            self.written.push('}');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.written, " {value}");
    }

    pub fn into_string(self) -> String {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_families_left_out() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "Nothing.");
        text.family("b", Kind::Gauge, "Something.");
        text.sample("", &[("x", "\\ \" \n"), ("y", "ü")], 1.5);
        text.sample("", &[], 0);
        assert_eq!(
            text.into_string(),
            "# HELP b Something.\n# TYPE b gauge\nb{x=\"\\\\ \\\" \\n\",y=\"ü\"} 1.5\nb 0\n"
        );
    }
}
