//! The journal as CSV (RFC 4180): a head, lines that end with CR LF, texts in quotes where they must be.

use std::fmt::Write as _;

use serde_json::Value;

use super::figures::text;
use super::journal_line::JournalLine;

/// The columns.
const HEADS: [&str; 10] = ["seq", "at", "who", "via", "act", "target", "change", "reason", "generation", "config"];

/// The records as CSV, with a head. A text that a spreadsheet would take for a formula has an apostrophe before it. With older
/// records that were not looked at, a last line says from which number on.
pub fn journal_csv(records: &[Value], older: Option<u64>) -> String {
    let mut csv = HEADS.join(",");
    csv.push_str("\r\n");
    for record in records {
        let line = JournalLine::of(record);
        let number = |member: &str| record[member].as_u64().map(|number| number.to_string()).unwrap_or_default();
        let cells = [
            number("seq"),
            cell(&line.at),
            cell(&line.who),
            cell(&line.via),
            cell(&line.act),
            cell(&line.target),
            cell(&line.change),
            cell(&line.reason),
            number("generation"),
            cell(text(&record["config"])),
        ];
        csv.push_str(&cells.join(","));
        csv.push_str("\r\n");
    }
    if let Some(older) = older {
        // Writing to a string cannot fail.
        let _ = write!(csv, ",,,,,,,there may be more: ask again with before={older},,\r\n");
    }
    csv
}

/// A text as a cell.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['\t', '\r', '\n']) || text.trim_start().starts_with(['=', '+', '-', '@']);
    let guarded = if is_formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains(['"', ',', '\r', '\n']) || guarded.trim() != guarded {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::journal_line::tests::records;
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula() {
        for (text, shown) in [
            ("plain", "plain"),
            ("", ""),
            ("a, b", "\"a, b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\rx", "\"'\rx\""),
            ("  =1", "'  =1"),
            (" x", "\" x\""),
            ("a=b", "a=b"),
            ("=A1,\"B\"", "\"'=A1,\"\"B\"\"\""),
        ] {
            assert_eq!(cell(text), shown, "{text:?}");
        }
    }

    #[test]
    fn each_record_is_a_line_of_ten_cells() {
        let csv = journal_csv(&records(), None);
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!((lines.len(), lines[12]), (13, ""));
        assert_eq!(lines[0], "seq,at,who,via,act,target,change,reason,generation,config");
        assert_eq!(
            lines[4],
            "4,2026-12-01T00:59:59.684Z,root,socket,kill,route shop,closes streams after 5\u{a0}s,INC-4711,2,c0be"
        );
        assert_eq!(
            lines[5],
            "5,2026-12-01T00:59:59.684Z,root,socket,revive,variant shop:canary,,\"'=HYPERLINK(\"\"x\"\")\",2,c0be"
        );
        assert!(lines[7].contains(",\"kernel, \"\"new\"\"\","), "{}", lines[7]);
    }

    #[test]
    fn bad_records_are_empty_cells() {
        assert_eq!(journal_csv(&[], None).lines().count(), 1);
        assert!(journal_csv(&[], Some(7)).ends_with(",,,,,,,there may be more: ask again with before=7,,\r\n"));
        for bad in [json!(null), json!(7), json!({ "seq": "x", "who": 7 })] {
            assert_eq!(journal_csv(&[bad], None).lines().nth(1), Some(",,,,,,,,,"));
        }
    }
}
