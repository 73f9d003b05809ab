//! The tables of deviations in `deviations.txt` and `requests/deviations.txt`.

use super::reading::Difference;

const TEXT: &str = include_str!("deviations.txt");

/// One row: a kind of message that Pointsman reads otherwise than hyper.
pub(super) struct Deviation {
    pub(super) name: &'static str,
    hyper: &'static str,
    pointsman: &'static str,
}

impl Deviation {
    pub(super) fn describes(&self, found: Difference) -> bool {
        let says = |column: &str, act| column.split(" or ").any(|one| one == act);
        says(self.hyper, found.hyper) && says(self.pointsman, found.pointsman)
    }
}

/// All rows about responses.
pub(super) fn deviations() -> Vec<Deviation> {
    deviations_of(TEXT)
}

/// All rows of a table.
pub(super) fn deviations_of(table: &'static str) -> Vec<Deviation> {
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let columns = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let read = |columns: Vec<&'static str>| {
        let [name, _, hyper, pointsman, rfc, why] = columns[..] else { panic!("six columns: {columns:?}") };
        assert!(rfc.starts_with("91") && rfc.contains(" \u{a7}"), "{name}: `{rfc}` is no section of RFC 9110 or 9112");
        assert!(why.ends_with('.'), "{name}: `{why}` is no sentence");
        Deviation { name, hyper, pointsman }
    };
    columns.map(read).collect()
}
