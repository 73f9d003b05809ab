//! Sources: the texts of the files, and places in them.

use std::sync::Arc;

use crate::compare::is_control;

/// The most characters of a line that are shown.
const SHOWN_MAX: usize = 140;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name of the file, as the user wrote it.
    pub name: Arc<str>,
    /// The content of the file.
    pub text: Arc<str>,
}

/// A range of bytes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Span {
    pub(in crate::config) file: u16,
    pub(in crate::config) start: u32,
    pub(in crate::config) end: u32,
}

impl Span {
    /// The file as a whole.
    pub(in crate::config) const fn whole(file: u16) -> Self {
        Self { file, start: u32::MAX, end: u32::MAX }
    }

    /// Whether the span is the whole file.
    pub(in crate::config) const fn is_whole(self) -> bool {
        self.start == u32::MAX
    }
}

/// A line for display: without control characters, and cut around the underlined place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Excerpt {
    /// The text.
    pub(in crate::config) text: String,
    /// The number of characters before the underline.
    pub(in crate::config) before: usize,
    /// The number of underlined characters, at least 1.
    pub(in crate::config) width: usize,
}

/// All files of one load, with the offsets of their lines.
#[derive(Debug, Default)]
pub(in crate::config) struct Files {
    files: Vec<(Source, Vec<u32>)>,
}

impl Files {
    /// Adds a file.
    pub(in crate::config) fn add(&mut self, source: Source) -> u16 {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', source.text.as_bytes()).map(|at| offset(at + 1)));
        debug_assert!(starts.is_sorted(), "lines start in ascending order");
        self.files.push((source, starts));
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    /// A file's name.
    pub(in crate::config) fn name(&self, file: u16) -> Arc<str> {
        self.files.get(usize::from(file)).map_or_else(|| Arc::from(""), |(source, _)| Arc::clone(&source.name))
    }

    /// The text of a span; empty if the span is not a part of the file.
    pub(in crate::config) fn text(&self, span: Span) -> &str {
        self.files
            .get(usize::from(span.file))
            .and_then(|(source, _)| source.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// The line in which a span starts, from 1; 0 for the whole file.
    pub(in crate::config) fn line(&self, span: Span) -> u32 {
        match self.files.get(usize::from(span.file)) {
            Some((_, starts)) if !span.is_whole() => offset(starts.partition_point(|start| *start <= span.start)),
            _ => 0,
        }
    }

    /// The line and the column after the last character; 0 for the whole file.
    pub(in crate::config) fn end(&self, span: Span) -> (u32, u32) {
        if span.is_whole() {
            return (0, 0);
        }
        let (line, column, _) = self.show(Span { start: span.end, ..span });
        (line, column)
    }

    /// The line, the column and the text to show.
    pub(in crate::config) fn show(&self, span: Span) -> (u32, u32, Excerpt) {
        let line = self.line(span);
        let Some((source, starts)) = self.files.get(usize::from(span.file)).filter(|_| line > 0) else {
            return (0, 0, Excerpt::default());
        };
        let text = &*source.text;
        debug_assert!(line as usize <= starts.len(), "the line exists");
        let from = starts[line as usize - 1] as usize;
        let to = starts.get(line as usize).map_or(text.len(), |next| *next as usize);
        debug_assert!(from <= to && to <= text.len(), "a line is a part of the text");
        let shown = text[from..to].trim_end_matches(['\n', '\r']);
        let start = floor(text, span.start as usize).saturating_sub(from).min(shown.len());
        let end = floor(text, span.end as usize).saturating_sub(from).clamp(start, shown.len());
        debug_assert!(shown.is_char_boundary(start) && shown.is_char_boundary(end), "no character is cut");
        let before = shown[..start].chars().count();
        (line, offset(before + 1), excerpt(shown, before, shown[start..end].chars().count()))
    }
}

/// An offset as 32 bits: files are far smaller than 4 GiB.
pub(in crate::config) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX - 1)
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn excerpt(line: &str, before: usize, width: usize) -> Excerpt {
    let skip = if before + width.min(40) > SHOWN_MAX { before.saturating_sub(40) } else { 0 };
    let mut shown = String::new();
    let mut shift = before - skip;
    if skip > 0 {
        shown.push('…');
        shift += 1;
    }
    let mut rest = line.chars().skip(skip);
    for (at, c) in rest.by_ref().take(SHOWN_MAX).enumerate() {
        if c == '\t' {
            shown.push_str("  ");
            shift += usize::from(at + skip < before);
        } else {
            shown.push(visible(c));
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    debug_assert!(skip <= before, "the cut is before the place");
    let width = width.clamp(1, (shown.chars().count().saturating_sub(shift)).max(1));
    Excerpt { text: shown, before: shift, width }
}

/// Replaces a character that controls a terminal or is invisible. The result is one character, since columns count
/// characters.
pub(in crate::config) fn visible(c: char) -> char {
    if is_control(c) { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let mut files = Files::default();
        let file = files.add(Source { name: "a".into(), text: "eins\r\nzwö = \"é\"\n".into() });
        let (line, column, excerpt) = files.show(Span { file, start: 13, end: 17 });
        assert_eq!((line, column), (2, 7));
        assert_eq!(excerpt, Excerpt { text: "zwö = \"é\"".into(), before: 6, width: 3 });
    }

    #[test]
    fn the_end_of_the_file_is_shown() {
        let mut files = Files::default();
        let file = files.add(Source { name: "a".into(), text: "x = ".into() });
        let (line, column, excerpt) = files.show(Span { file, start: 4, end: 4 });
        assert_eq!((line, column, excerpt.width), (1, 5, 1));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let mut files = Files::default();
        let file = files.add(Source { name: "a".into(), text: "x".repeat(1000).into() });
        let (_, column, excerpt) = files.show(Span { file, start: 500, end: 503 });
        assert_eq!(column, 501);
        assert!(excerpt.text.chars().count() <= SHOWN_MAX + 2);
        assert_eq!((excerpt.before, excerpt.width), (41, 3));
    }

    #[test]
    fn controls_are_not_shown() {
        let mut files = Files::default();
        let file = files.add(Source { name: "a".into(), text: "\t\u{1b}[2J\u{202e}\u{200b}".into() });
        let (_, _, excerpt) = files.show(Span { file, start: 1, end: 2 });
        assert_eq!(excerpt, Excerpt { text: "  \u{fffd}[2J\u{fffd}\u{fffd}".into(), before: 2, width: 1 });
    }
}
