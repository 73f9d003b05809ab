//! Prints records: as lines of JSON, or as a table.

use std::cell::Cell;

use serde_json::Value;

use super::line;
use crate::cli::out;
use crate::cli::paint::Paint;

/// Prints records, one by one.
#[derive(Debug)]
pub(super) struct RecordPrinter {
    form: RecordForm,
    /// Whether the title of the table is printed.
    begun: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
enum RecordForm {
    Json,
    Table(Paint),
}

impl RecordPrinter {
    pub(super) const fn json() -> Self {
        Self { form: RecordForm::Json, begun: Cell::new(false) }
    }

    pub(super) const fn table(paint: Paint) -> Self {
        Self { form: RecordForm::Table(paint), begun: Cell::new(false) }
    }

    /// Prints a record. Returns whether the output still has a reader.
    pub(super) fn print(&self, record: &Value) -> anyhow::Result<bool> {
        match self.form {
            RecordForm::Json => out::show(&format!("{record}\n")),
            RecordForm::Table(paint) => {
                let title = if self.begun.replace(true) { String::new() } else { line::title(paint) + "\n" };
                out::show(&format!("{title}{}\n", line::row(record, paint)))
            }
        }
    }
}
