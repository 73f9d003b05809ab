//! Verification: every line of every file continues the chain, every file continues the one before, and the saved state
//! was made of it.

use std::io::{self, Read};
use std::time::Duration;

use super::chain::Chain;
use super::damage::{Damage, DamageKind};
use super::files::JournalFiles;
use super::line::FULL;
use super::lines::{LineRead, Lines};
use super::names::damaged_seq;
use super::open::peek;
use super::read::read_in_order;
use super::record::{Deed, Record};

/// How many problems a report has.
const PROBLEMS_MAX: usize = 100;
/// How many bytes of a line a problem shows, of its beginning and of its end.
const SHOWN_MAX: usize = 80;

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The files in order.
    pub files: Vec<FileVerified>,
    /// How many records they have.
    pub records: u64,
    /// When the first record was decided: RFC 3339.
    pub first_at: Option<String>,
    /// When the last record was decided: RFC 3339.
    pub last_at: Option<String>,
    /// What is wrong, at most 100.
    pub problems: Vec<Problem>,
    /// How many more problems there are.
    pub more_problems: u64,
    /// What is no problem, such as an incomplete last line.
    pub notes: Vec<String>,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileVerified {
    /// Its name.
    pub name: String,
    /// The length of its complete lines, in bytes.
    pub bytes: u64,
    /// How many records it has.
    pub records: u64,
    /// The sequence number of its first record.
    pub first_seq: Option<u64>,
    /// The sequence number of its last record.
    pub last_seq: Option<u64>,
}

/// What is wrong with a line or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What, and where.
    pub damage: Damage,
    /// Where the line begins in the file, in bytes.
    pub from_byte: u64,
    /// Where it ends.
    pub to_byte: u64,
    /// The first bytes of the line.
    pub begins: String,
    /// The last bytes of the line.
    pub ends: String,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn add_damage(&mut self, file: &str, kind: DamageKind) {
        let damage = Damage { kind, file: file.to_owned(), line: 0 };
        self.add(Problem { damage, from_byte: 0, to_byte: 0, begins: String::new(), ends: String::new() });
    }
}

/// Verifies the journal of a state folder; a writer may go on meanwhile.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn verify(files: &dyn JournalFiles) -> io::Result<VerifyReport> {
    // Before the files, so that the saved state is not newer than what is read of them.
    let whole = peek(files, Duration::ZERO, "");
    let mut report = read_in_order(files, |names| {
        let mut report = VerifyReport::default();
        let mut before: Option<Chain> = None;
        for name in names {
            before = Some(verify_file(&mut report, name, files.read(name)?, before.as_ref())?);
        }
        Ok(report)
    })?;
    let mut aside: Vec<String> = files.list()?.into_iter().filter(|name| damaged_seq(name).is_some()).collect();
    aside.sort_unstable();
    for name in aside {
        let mut of_it = VerifyReport::default();
        verify_file(&mut of_it, &name, files.read(&name)?, None)?;
        of_it.problems.into_iter().for_each(|problem| report.add(problem));
        report.more_problems += of_it.more_problems;
        let note = "was set aside; the file after it begins with what was read of it: inspect it, then move it out of \
                    the folder";
        report.notes.push(format!("{name} {note}"));
    }
    if let Some(damage) = whole.folded.damage.filter(|damage| damage.kind.is_of_saved_state()) {
        report.add_damage(&damage.file, damage.kind);
    }
    Ok(report)
}

/// Verifies the text of one file.
#[must_use]
pub fn verify_bytes(text: &[u8]) -> VerifyReport {
    let mut verified = VerifyReport::default();
    if let Err(error) = verify_file(&mut verified, "", text, None) {
        verified.add_damage("", DamageKind::Unreadable(error.to_string()));
    }
    verified
}

/// Verifies a file; `before` is the end of the file before it.
fn verify_file(verified: &mut VerifyReport, name: &str, file: impl Read, before: Option<&Chain>) -> io::Result<Chain> {
    let mut lines = Lines::new(file);
    let mut chain = Chain::default();
    let mut found = FileVerified { name: name.to_owned(), ..FileVerified::default() };
    let mut number = 0;
    while let Some(read) = lines.read()? {
        number += 1;
        let fault = match read {
            LineRead::Whole => {
                let read = chain.read(lines.line());
                let fault =
                    read.fault.or_else(|| continues(&chain, read.record.as_ref(), before.filter(|_| number == 1)));
                if let Some(record) = read.record {
                    found.records += 1;
                    found.first_seq = found.first_seq.or(Some(record.seq));
                    found.last_seq = Some(record.seq);
                    verified.first_at.get_or_insert_with(|| record.at.clone());
                    verified.last_at = Some(record.at);
                }
                fault
            }
            LineRead::TooLong => {
                chain.pass_over();
                Some(DamageKind::TooLong)
            }
            LineRead::Torn(bytes) => {
                let place = if name.is_empty() { String::new() } else { format!("{name}: ") };
                verified.notes.push(format!("{place}line {number} is not complete ({bytes} bytes): a crash cut it off before it was durable, or it is being written"));
                break;
            }
        };
        found.bytes = lines.end();
        if let Some(kind) = fault {
            let damage = Damage { kind, file: name.to_owned(), line: number };
            let line = lines.line();
            let begins = String::from_utf8_lossy(&line[..line.len().min(SHOWN_MAX)]).into_owned();
            let ends = String::from_utf8_lossy(&line[line.len().saturating_sub(SHOWN_MAX)..]).into_owned();
            verified.add(Problem { damage, from_byte: lines.begin(), to_byte: lines.end(), begins, ends });
        }
    }
    verified.records += found.records;
    verified.files.push(found);
    Ok(chain)
}

/// Why the first line of a file does not continue the file before. A checkpoint that was made of a damaged file does.
fn continues(chain: &Chain, first: Option<&Record>, before: Option<&Chain>) -> Option<DamageKind> {
    let (first, before) = (first?, before?);
    let Deed::Checkpoint { because, .. } = &first.what else { return Some(DamageKind::NoBeginning) };
    if first.prev == before.head() {
        let expected = before.seq();
        return (chain.seq() != expected).then_some(DamageKind::Gap { expected, found: first.seq });
    }
    let is_after_damage = because != FULL;
    (!is_after_damage).then_some(DamageKind::BrokenChain)
}
