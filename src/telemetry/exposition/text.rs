//! The Prometheus text format: families with help and type, series with escaped labels.

use std::fmt::{Display, Write as _};

use metrics::{Key, KeyName};

use crate::telemetry::Histogram;
use crate::telemetry::family::{CountedValue, FamilySink, Figure, FoldedHistogram, MetricKind};

/// The text of a scrape.
#[derive(Debug)]
pub(super) struct PrometheusText {
    written: String,
    name: KeyName,
    /// The HELP and TYPE lines of the family, until its first series.
    head: String,
    /// The labels of the current histogram series, for all its lines.
    labels: String,
    /// The upper bounds of buckets in seconds.
    bounds: Vec<String>,
}

impl Default for PrometheusText {
    fn default() -> Self {
        let bounds = Histogram::BOUNDS_US.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]).collect();
        let (written, head, labels) = (String::new(), String::new(), String::new());
        Self { written, name: KeyName::from_const_str(""), head, labels, bounds }
    }
}

impl FamilySink for PrometheusText {
    fn family(&mut self, name: impl Into<KeyName>, kind: MetricKind, help: &str) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.name = name.into();
        let name = self.name.as_str();
        self.head.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.head, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, labels: &[(&'static str, &str)], figure: impl Into<Figure>) {
        self.line(labels.iter().copied(), figure.into());
    }

    fn histogram(&mut self, labels: &[(&'static str, &str)], folded: &FoldedHistogram) {
        self.buckets(labels.iter().copied(), folded);
    }

    fn counted(&mut self, key: &Key, value: &CountedValue) {
        let labels = key.labels().map(|label| (label.key(), label.value()));
        match value {
            CountedValue::Figure(figure) => self.line(labels, *figure),
            CountedValue::Durations(folded) => self.buckets(labels, folded),
        }
    }
}

impl PrometheusText {
    pub fn into_string(self) -> String {
        self.written
    }

    /// Writes the name of a series, after the head of the family for the first series.
    fn start_line(&mut self, suffix: &str) {
        self.written.push_str(&self.head);
        self.head.clear();
        self.written.push_str(self.name.as_str());
        self.written.push_str(suffix);
    }

    fn line<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>, figure: Figure) {
        self.start_line("");
        let before = self.written.len();
        for (name, value) in labels {
            self.written.push(if self.written.len() == before { '{' } else { ',' });
            label(&mut self.written, name, value);
        }
        if self.written.len() > before {
            self.written.push('}');
        }
        match figure {
            Figure::Count(count) => self.value(count),
            Figure::Level(level) => self.value(level),
        }
    }

    /// Writes the cumulative buckets, the sum and the count.
    fn buckets<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>, folded: &FoldedHistogram) {
        let mut all = std::mem::take(&mut self.labels);
        all.clear();
        for (name, value) in labels {
            if !all.is_empty() {
                all.push(',');
            }
            label(&mut all, name, value);
        }
        let mut below = 0;
        for (at, count) in folded.counts.iter().enumerate() {
            below += count;
            self.start_line("_bucket{");
            self.written.push_str(&all);
            self.written.push_str(if all.is_empty() { "le=\"" } else { ",le=\"" });
            self.written.push_str(&self.bounds[at]);
            self.written.push_str("\"}");
            self.value(below);
        }
        for (suffix, value) in [("_sum", seconds(folded.sum_us)), ("_count", below.to_string())] {
            self.start_line(suffix);
            if !all.is_empty() {
                self.written.push('{');
                self.written.push_str(&all);
                self.written.push('}');
            }
            self.value(value);
        }
        self.labels = all;
    }

    fn value(&mut self, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.written, " {value}");
    }
}

/// Writes a label; escapes its value.
fn label(written: &mut String, name: &str, value: &str) {
    written.push_str(name);
    written.push_str("=\"");
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        written.push_str(&rest[..at]);
        written.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'"' => "\\\"",
            _ => "\\n",
        });
        rest = &rest[at + 1..];
    }
    written.push_str(rest);
    written.push('"');
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_families_left_out() {
        let mut text = PrometheusText::default();
        text.family("a_total", MetricKind::Counter, "Nothing.");
        text.family("b", MetricKind::Gauge, "Something.");
        text.sample(&[("x", "\\ \" \n"), ("y", "ü")], 1.5);
        text.sample(&[], 0_u64);
        assert_eq!(
            text.into_string(),
            "# HELP b Something.\n# TYPE b gauge\nb{x=\"\\\\ \\\" \\n\",y=\"ü\"} 1.5\nb 0\n"
        );
    }

    #[test]
    fn a_histogram_without_labels_has_only_bounds() {
        let mut text = PrometheusText::default();
        text.family("a_seconds", MetricKind::Histogram, "Of a.");
        let mut folded = FoldedHistogram { sum_us: 250_001, ..FoldedHistogram::default() };
        folded.counts[1] = 2;
        text.histogram(&[], &folded);
        let text = text.into_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[..2], ["a_seconds_bucket{le=\"0.00025\"} 0", "a_seconds_bucket{le=\"0.0005\"} 2"]);
        assert_eq!(lines[17..], ["a_seconds_bucket{le=\"+Inf\"} 2", "a_seconds_sum 0.250001", "a_seconds_count 2"]);
    }
}
