//! The figures of a chart in words: as the table below it, and as its description for those who do not see it.

use maud::{Markup, html};

use super::series::PointValues;
use super::span::ChartSpan;
use super::stroke::ChartLine;

/// The table of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartKey {
    /// What stands above its columns.
    pub heads: [String; 3],
    /// A row for each line.
    pub rows: Vec<KeyRow>,
}

/// The figures of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRow {
    /// The name of the line.
    pub name: String,
    /// By column.
    pub cells: [KeyCell; 3],
}

/// A figure, and of how many it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyCell {
    /// The figure; empty: none.
    pub figure: String,
    /// Of how many, and when.
    pub counts: String,
}

/// The largest value of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LargestPoint {
    /// Its point.
    pub at: usize,
    /// The value.
    pub value: f64,
}

impl ChartKey {
    /// The columns `last`, `largest`, `all 1 h`.
    pub fn heads_of(span: &ChartSpan) -> [String; 3] {
        ["last".to_owned(), "largest".to_owned(), format!("all {}", span.length_words())]
    }

    /// The rows as sentences.
    pub fn words(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let cells = self.heads.iter().zip(&row.cells).filter(|(_, cell)| !cell.is_empty());
            let cells: Vec<String> = cells.map(|(head, cell)| format!("{head} {}", cell.words())).collect();
            format!("{}: {}.", row.name, cells.join("; "))
        });
        rows.collect::<Vec<_>>().join(" ")
    }

    /// The rows as a table, beside the look of the lines.
    pub fn table(&self, lines: &[ChartLine]) -> Markup {
        html! {
            table class="key" role="table" {
                thead {
                    tr role="row" {
                        th scope="col" role="columnheader" { span class="sr-only" { "line" } }
                        @for head in &self.heads { th scope="col" role="columnheader" { (head) } }
                    }
                }
                tbody {
                    @for (at, row) in self.rows.iter().enumerate() {
                        tr role="row" {
                            th scope="row" role="rowheader" {
                                @if let Some(line) = lines.get(at) { (line.swatch()) " " }
                                bdi { (row.name) }
                            }
                            @for cell in &row.cells { td role="cell" { (cell.markup()) } }
                        }
                    }
                }
            }
        }
    }
}

impl KeyCell {
    /// A figure with its counts.
    pub fn new(figure: String, counts: String) -> Self {
        Self { figure, counts }
    }

    fn is_empty(&self) -> bool {
        self.figure.is_empty() && self.counts.is_empty()
    }

    fn words(&self) -> String {
        match (self.figure.is_empty(), self.counts.is_empty()) {
            (false, false) => format!("{} ({})", self.figure, self.counts),
            (true, _) => self.counts.clone(),
            (false, true) => self.figure.clone(),
        }
    }

    fn markup(&self) -> Markup {
        html! {
            @if !self.figure.is_empty() { b { (self.figure) } " " }
            @if !self.counts.is_empty() { span class="n" { (self.counts) } }
        }
    }
}

impl LargestPoint {
    /// Of the values that are known.
    pub fn of(values: &PointValues) -> Option<Self> {
        let known = values.iter().enumerate().filter_map(|(at, value)| Some(Self { at, value: (*value)? }));
        known.reduce(|most, one| if one.value > most.value { one } else { most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_sentences() {
        let [figure, counts, name] = ["0.42 %", "5 of 1 190", "canary"].map(str::to_owned);
        let cells = [KeyCell::new(figure, counts), KeyCell::default(), KeyCell::new(String::new(), "n = 3".to_owned())];
        let heads = ["last", "largest", "all"].map(str::to_owned);
        let key = ChartKey { heads, rows: vec![KeyRow { name, cells }] };
        assert_eq!(key.words(), "canary: last 0.42 % (5 of 1 190); all n = 3.");
    }

    #[test]
    fn the_largest_is_the_first_of_equals() {
        let largest = LargestPoint::of(&vec![None, Some(1.0), Some(3.0), None, Some(3.0)]);
        assert_eq!(largest, Some(LargestPoint { at: 2, value: 3.0 }));
        assert_eq!(LargestPoint::of(&vec![None]), None);
    }
}
