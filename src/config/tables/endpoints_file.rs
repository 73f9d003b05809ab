//! A file of endpoints: one URL a line, `weight=2`, `backup` and `drain` behind it. A discovery writes it, so it is
//! foreign text: every kind of bad line has a diagnostic, and their number is bounded.

use std::ops::Range;
use std::sync::Arc;

use super::endpoint_list::{ENDPOINTS_MAX, PlacedEndpoint, SHOWN_MAX, by_url, refuse_duplicates};
use crate::config::read;
use crate::config::toml::applied_files::FileUse;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::{Source, Span, offset};
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, required};
use crate::config::toml::suggest::did_you_mean;
use crate::route::{EndpointRole, EndpointSpec};

/// The largest file.
const BYTES_MAX: u64 = 16 << 20;

/// The longest word of a line, in bytes: a host has at most 253.
const WORD_BYTES_MAX: usize = 300;

/// After so many faults the rest is not read.
const FAULTS_MAX: usize = 1_000;

/// The highest weight.
const WEIGHT_MAX: u32 = 1_000;

/// How a file of endpoints is written, for help.
const ATOMICALLY: &str =
    "end the last line with a line break; to replace the file at once, write another one beside it and rename it";

/// `{ file = … }`.
pub(super) const ENDPOINTS_FILE: TableSpec = TableSpec {
    title: "endpoints in a file",
    doc: "A file with one URL per line, and `weight=2`, `backup` or `drain` behind it; `#` begins a comment. It is watched \
          for changes.",
    keys: &[required("file", Shape::Text, "Path of the file, relative to the file that names it.")],
    later: &[],
};

/// What is wrong with a part of a file.
#[derive(Debug, PartialEq, Eq)]
struct LineFault {
    code: &'static str,
    /// The bytes of the file.
    at: Range<usize>,
    message: String,
    help: Option<String>,
}

/// The content of a file.
#[derive(Debug, Default)]
struct Scanned {
    endpoints: Vec<(EndpointSpec, Range<usize>)>,
    /// The first faults.
    faults: Vec<LineFault>,
    /// The number of further ones; where it is [`FAULTS_MAX`] with the first ones, the rest was not read.
    more: usize,
}

/// Reads the endpoints of a text as a file of endpoints has them. Duplicates are not refused here.
///
/// # Errors
/// The first fault, with its line.
pub fn parse_endpoints(text: &str) -> Result<Vec<EndpointSpec>, String> {
    let Scanned { endpoints, faults, .. } = scan(text);
    match faults.into_iter().next() {
        None => Ok(endpoints.into_iter().map(|(endpoint, _)| endpoint).collect()),
        Some(fault) => {
            let line = memchr::memchr_iter(b'\n', &text.as_bytes()[..fault.at.start]).count() + 1;
            Err(format!("line {line}: {}", fault.message))
        }
    }
}

/// Reads the file that `endpoints` of an upstream names.
pub(super) fn read(context: &mut Context<'_>, item: &Item<'_>, upstream: &Reader<'_>) -> Vec<PlacedEndpoint> {
    let Some(reader) = item.table(context, &ENDPOINTS_FILE) else { return Vec::new() };
    let path = reader.require(context, "file").and_then(|item| item.shown_text(context));
    reader.finish(context);
    let Some(path) = path else { return Vec::new() };
    let Some(source) = source(context, &path) else { return Vec::new() };
    let text = Arc::clone(&source.text);
    let file = context.files.add(source);
    let span = |at: &Range<usize>| Span { file, start: offset(at.start), end: offset(at.end) };
    let Scanned { endpoints, faults, more } = scan(&text);
    let is_whole = faults.is_empty();
    let last = faults.last().map(|fault| span(&fault.at));
    for fault in faults {
        let finding = Finding::error(fault.code, span(&fault.at), fault.message);
        context.report(finding.maybe_help(fault.help));
    }
    if let (Some(at), 1..) = (last, more) {
        let at_least = if more + SHOWN_MAX < FAULTS_MAX { "" } else { "at least " };
        let message = format!("{at_least}{more} more lines of this file are not endpoints");
        context.report(Finding::error("bad-endpoint", at, message));
    }
    if is_whole && endpoints.is_empty() {
        let message = format!("`{}` has no endpoint", &*path);
        let finding = Finding::error("empty-list", path.span, message);
        let help = format!(
            "a discovery that finds nothing must not take `{}` out of use; to do so on purpose, give its routes another \
             upstream, or `respond = {{ status = 503 }}`",
            upstream.name()
        );
        context.report(finding.help(help));
    }
    let all: Vec<PlacedEndpoint> = endpoints.into_iter().map(|(endpoint, at)| (endpoint, span(&at))).collect();
    refuse_duplicates(context, &all, "to send it more requests, write `weight=2` behind it");
    all
}

/// The text of a file; the load depends on it.
fn source(context: &mut Context<'_>, written: &SpannedString<'_>) -> Option<Source> {
    let path = context.beside(written.span.file, written);
    context.watch(&path);
    let bytes = match read::opened_within(context, FileUse::Endpoints, &path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            context.report(Finding::error("unreadable", written.span, message));
            return None;
        }
    };
    context.depend_on_endpoints(&bytes);
    match String::from_utf8(bytes) {
        Ok(text) => Some(Source { name: path.to_string_lossy().into(), text: text.into() }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..at]).count() + 1;
            let message = format!("`{}` is not UTF-8 at line {line} (byte {at})", path.display());
            let finding = Finding::error("not-utf8", written.span, message);
            context.report(finding.help("save the file as UTF-8"));
            None
        }
    }
}

/// Reads a text, in time proportional to its length.
fn scan(text: &str) -> Scanned {
    let mut scanned = Scanned::default();
    if !text.is_empty() && !text.ends_with('\n') {
        let start = text.rfind('\n').map_or(0, |at| at + 1);
        let message = "this file does not end with a line break: it may be half written".to_owned();
        scanned.add(LineFault {
            code: "half-written",
            at: start..text.len(),
            message,
            help: Some(ATOMICALLY.to_owned()),
        });
        return scanned;
    }
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    for line in text[start..].split_inclusive('\n') {
        match self::line(line, start) {
            Ok(None) => {}
            Ok(Some(_)) if scanned.endpoints.len() >= ENDPOINTS_MAX => {
                let message = format!("an upstream has at most {ENDPOINTS_MAX} endpoints; this is one more");
                let at = start..start + line.trim_end().len();
                scanned.add(LineFault { code: "too-many", at, message, help: None });
                return scanned;
            }
            Ok(Some(endpoint)) => scanned.endpoints.push(endpoint),
            Err(fault) => {
                scanned.add(fault);
                if scanned.faults.len() + scanned.more >= FAULTS_MAX {
                    return scanned;
                }
            }
        }
        start += line.len();
    }
    debug_assert_eq!(start, text.len(), "every line was read");
    scanned
}

impl Scanned {
    fn add(&mut self, fault: LineFault) {
        if self.faults.len() < SHOWN_MAX {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
        debug_assert!(self.faults.len() <= SHOWN_MAX, "further faults are counted");
    }
}

/// The endpoint of a line that begins at this byte of the file; `None` for an empty line and a comment.
fn line(line: &str, start: usize) -> Result<Option<(EndpointSpec, Range<usize>)>, LineFault> {
    let code = "bad-endpoint";
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let place = |word: &str| {
        let from = start + (word.as_ptr() as usize - line.as_ptr() as usize);
        from..from + word.len()
    };
    let fault = |word: &str, message: String, help: Option<String>| LineFault { code, at: place(word), message, help };
    let Some(url) = words.next() else { return Ok(None) };
    if url.len() > WORD_BYTES_MAX {
        let message = format!("this is not a URL: it has {} bytes, and the longest has {WORD_BYTES_MAX}", url.len());
        return Err(fault(url, message, None));
    }
    let found = by_url(url).map_err(|(message, help)| {
        let is_row = url.contains(',') && url.split(',').all(|part| part.is_empty() || by_url(part).is_ok());
        fault(url, message, Some(if is_row { "write each URL on a line of its own".to_owned() } else { help }))
    });
    let mut endpoint = found?;
    let (mut weight, mut is_backup, mut is_drained) = (None, false, false);
    for word in words {
        let is_twice = if word == "backup" {
            std::mem::replace(&mut is_backup, true)
        } else if word == "drain" {
            std::mem::replace(&mut is_drained, true)
        } else if let Some(digits) = word.strip_prefix("weight=") {
            let parsed = self::weight(digits).map_err(|(message, help)| fault(word, message, Some(help)))?;
            weight.replace(parsed).is_some()
        } else {
            let (message, help) = unknown_word(word);
            return Err(fault(word, message, Some(help)));
        };
        if is_twice {
            let what = word.split('=').next().unwrap_or(word);
            return Err(fault(word, format!("`{what}` is written twice"), None));
        }
    }
    endpoint.weight = weight.unwrap_or(1);
    endpoint.role = match (is_drained, is_backup) {
        (true, _) => EndpointRole::Drained,
        (false, true) => EndpointRole::Backup,
        (false, false) => EndpointRole::Primary,
    };
    Ok(Some((endpoint, place(url))))
}

fn weight(digits: &str) -> Result<u32, (String, String)> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let parsed = digits.parse().ok().filter(|weight| is_number && (1..=WEIGHT_MAX).contains(weight));
    parsed.ok_or_else(|| {
        let help = if is_number && digits.trim_start_matches('0').is_empty() {
            "for an endpoint that gets no requests, write `drain`".to_owned()
        } else {
            format!("write a whole number, such as `weight=2`, without spaces; at most {WEIGHT_MAX}")
        };
        (format!("a weight must be 1 to {WEIGHT_MAX}"), help)
    })
}

/// The message and the help for a word behind a URL that is not known.
fn unknown_word(word: &str) -> (String, String) {
    let short: String = word.chars().take(40).collect();
    let message = format!("`{short}` is not a word of an endpoint");
    if by_url(word.trim_matches(',')).is_ok() && word.len() <= WORD_BYTES_MAX {
        return (format!("`{short}` is a second URL on this line"), "write each URL on a line of its own".to_owned());
    }
    let plain = word.trim_end_matches(';').to_ascii_lowercase();
    let meant = match plain.as_str() {
        "down" | "disabled" | "draining" | "drained" | "maint" => Some("did you mean `drain`?".to_owned()),
        "standby" | "secondary" | "spare" => Some("did you mean `backup`?".to_owned()),
        _ if plain.starts_with("weight") => Some("did you mean `weight=2`, without spaces?".to_owned()),
        _ => did_you_mean(&plain, ["backup", "drain", "weight="].into_iter()),
    };
    (
        message,
        meant.unwrap_or_else(|| "behind the URL stand `weight=2`, `backup` or `drain`; `#` begins a comment".into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_endpoints() {
        let text = "\u{feff}# written by a discovery\r\n\
                    http://10.0.0.1:8080\r\n\
                    \n\
                    \thttps://[::1]:8443/  weight=3 backup # spare\n\
                    h2c://a.internal:50051 drain\n";
        let shown: Vec<String> = parse_endpoints(text).unwrap().iter().map(ToString::to_string).collect();
        let expected =
            ["http://10.0.0.1:8080", "https://[::1]:8443 (backup) (weight 3)", "h2c://a.internal:50051 (drained)"];
        assert_eq!(shown, expected);
        assert_eq!(parse_endpoints(""), Ok(vec![]));
        assert_eq!(parse_endpoints("\u{feff}\n#\n"), Ok(vec![]));
    }

    #[test]
    fn bad_lines_say_what_to_write() {
        for (line, part, help) in [
            ("10.0.0.1:80", "10.0.0.1:80", "write `http://10.0.0.1:80`"),
            ("http://0.0.0.0:80", "http://0.0.0.0:80", "write `http://127.0.0.1:80` for this machine"),
            ("http://[::]:80", "http://[::]:80", "write `http://[::1]:80` for this machine"),
            ("http://a:0", "http://a:0", "write `http://host"),
            ("http://a:1 weight=0", "weight=0", "for an endpoint that gets no requests, write `drain`"),
            ("http://a:1 weight=1001", "weight=1001", "write a whole number"),
            ("http://a:1 weight=+1", "weight=+1", "write a whole number"),
            ("http://a:1 weight = 2", "weight", "did you mean `weight=2`, without spaces?"),
            ("http://a:1 bakcup", "bakcup", "did you mean `backup`?"),
            ("http://a:1 down", "down", "did you mean `drain`?"),
            ("http://a:1 http://b:1", "http://b:1", "write each URL on a line of its own"),
            ("http://a:1,http://b:1", "http://a:1,http://b:1", "write each URL on a line of its own"),
            ("http://a:1 \u{1b}[2J", "\u{1b}[2J", "behind the URL stand"),
        ] {
            let text = format!("# first\n  {line}\n");
            let Scanned { faults, endpoints, more } = scan(&text);
            assert_eq!((faults.len(), endpoints.len(), more), (1, 0, 0), "{line}");
            assert_eq!(&text[faults[0].at.clone()], part, "{line}");
            assert!(faults[0].help.as_deref().unwrap().starts_with(help), "{line}: {:?}", faults[0].help);
        }
    }

    #[test]
    fn a_file_without_a_line_break_at_its_end_may_be_half_written() {
        for text in ["http://10.0.0.1:8080\nhttp://10.0.0.1", "#", "\u{feff}"] {
            let Scanned { faults, endpoints, .. } = scan(text);
            assert_eq!((faults.len(), endpoints.len(), faults[0].code), (1, 0, "half-written"), "{text:?}");
        }
    }

    #[test]
    fn faults_are_bounded() {
        let Scanned { faults, more, .. } = scan(&"x\n".repeat(100_000));
        assert_eq!((faults.len(), more), (SHOWN_MAX, FAULTS_MAX - SHOWN_MAX), "the rest is not read");
        let Scanned { more, .. } = scan(&"x\n".repeat(FAULTS_MAX - 1));
        assert_eq!(more, FAULTS_MAX - 1 - SHOWN_MAX);
        let Scanned { faults, .. } = scan(&format!("{}\n", "x".repeat(1 << 20)));
        assert!(faults[0].message.len() < 200, "a long word is not repeated");
        let Scanned { faults, endpoints, .. } = scan(&"http://10.0.0.1:1\n".repeat(ENDPOINTS_MAX + 1_000));
        assert_eq!((faults.len(), endpoints.len(), faults[0].code), (1, ENDPOINTS_MAX, "too-many"));
    }
}
