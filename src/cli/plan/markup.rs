//! Markdown that foreign text cannot change, and tables that are readable as plain text.

use std::fmt::Write as _;

use crate::compare::escape_controls;

/// Cells are padded to this width at most, in letters.
const PADDED_MAX: usize = 48;

/// A table. Its cells are Markdown.
#[derive(Debug)]
pub(super) struct PaddedTable {
    /// The title first.
    rows: Vec<Vec<String>>,
}

impl PaddedTable {
    /// An empty table with these titles.
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row<const CELLS: usize>(&mut self, cells: [String; CELLS]) {
        debug_assert!(self.rows.first().is_some_and(|titles| titles.len() == CELLS), "a row has a cell for each title");
        debug_assert!(cells.iter().all(|cell| !cell.contains('\n')), "a row is a line: {cells:?}");
        self.rows.push(cells.into());
    }

    /// Whether it has titles alone.
    pub const fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// As Markdown, with an empty line behind it.
    pub fn markdown(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let letters = |row: &Vec<String>, at: usize| row.get(at).map_or(0, |cell| cell.chars().count());
        let width = |at: usize| self.rows.iter().map(|row| letters(row, at)).max().unwrap_or(0).clamp(3, PADDED_MAX);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} "); // writing to memory cannot fail
            }
            text.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        text.push('\n');
        text
    }
}

/// Foreign text: it stays as it is, whatever it looks like.
pub(super) fn text(foreign: &str) -> String {
    let plain = escape_controls(foreign);
    let mut shown = String::with_capacity(plain.len() + 8);
    let mut before = ' ';
    let mut letters = plain.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_inside = |one: char| one.is_alphanumeric() || one == '_';
        // Between letters an underscore is one.
        let is_mark = match letter {
            '_' => !(is_inside(before) && letters.peek().is_some_and(|next| is_inside(*next))),
            '#' => before == ' ',
            '\\' | '`' | '*' | '<' | '>' | '[' | ']' | '|' | '&' | '~' | '!' | '$' => true,
            _ => false,
        };
        if is_mark {
            shown.push('\\');
        }
        shown.push(letter);
        before = letter;
    }
    shown
}

/// Foreign text as code. Not for tables: a bar would end the cell.
pub(super) fn code(foreign: &str) -> String {
    let plain = escape_controls(foreign);
    let longest = plain.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let needs_blank = plain.is_empty() || plain.starts_with(['`', ' ']) || plain.ends_with(['`', ' ']);
    let blank = if needs_blank { " " } else { "" };
    format!("{fence}{blank}{plain}{blank}{fence}")
}

/// Names in a row: `ana`, `bo or chen`.
pub(super) fn any_of(names: &[String]) -> String {
    names.iter().map(|name| text(name)).collect::<Vec<_>>().join(" or ")
}

/// A list.
pub(super) fn bullets(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        debug_assert!(!line.contains('\n'), "a point is a line: {line}");
        let _ = writeln!(text, "* {line}"); // writing to memory cannot fail
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_text_is_no_markup() {
        for (foreign, shown) in [
            ("team-payments", "team-payments"),
            ("a_b", "a_b"),
            ("_a_", "\\_a\\_"),
            ("a|b", "a\\|b"),
            ("<script>`x`", "\\<script\\>\\`x\\`"),
            ("# one\ntwo", "\\# one\\\\u{a}two"),
            ("\u{202e}x", "\\\\u{202e}x"),
            ("[a](b) &lt; ![i]", "\\[a\\](b) \\&lt; \\!\\[i\\]"),
        ] {
            assert_eq!(text(foreign), shown, "{foreign:?}");
        }
        for (foreign, shown) in
            [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("", "`  `"), ("a\nb", "`a\\u{a}b`")]
        {
            assert_eq!(code(foreign), shown, "{foreign:?}");
        }
    }

    #[test]
    fn a_table_is_readable_as_it_is() {
        let mut table = PaddedTable::new(&["stage", "weight"]);
        assert!(table.is_empty());
        table.row(["internal".to_owned(), "1 %".to_owned()]);
        assert_eq!(table.markdown(), "| stage    | weight |\n|----------|--------|\n| internal | 1 %    |\n\n");
    }

    /// Bars of a line that end a cell.
    fn bars(line: &str) -> usize {
        let mut is_escaped = false;
        line.chars()
            .filter(|letter| {
                let ends = *letter == '|' && !is_escaped;
                is_escaped = *letter == '\\' && !is_escaped;
                ends
            })
            .count()
    }

    proptest! {
        #[test]
        fn no_text_ends_a_cell_or_a_line(foreign in ".{0,40}", other in "[|`\\\\<\n_*\u{202e}]{0,12}") {
            let mut table = PaddedTable::new(&["a", "b"]);
            table.row([text(&foreign), text(&other)]);
            let markdown = table.markdown();
            prop_assert_eq!(markdown.lines().count(), 4, "{}", markdown);
            for line in markdown.lines().filter(|line| !line.is_empty()) {
                prop_assert_eq!(bars(line), 3, "{}", line);
            }
            let code = code(&other);
            let fence = code.chars().take_while(|letter| *letter == '`').count();
            let inside = &code[fence..code.len() - fence];
            prop_assert!(!inside.contains(&"`".repeat(fence)) && !inside.contains('\n'), "{}", code);
        }
    }
}
