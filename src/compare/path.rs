//! Folded paths: where a value stands, without indexes and without keys that look like ids.

use std::collections::HashMap;

use super::pattern::write_key;

/// How deep a path may be; what lies deeper is told as its ancestor there.
pub(super) const DEPTH_MAX: u32 = 64;
/// Keys that are longer count as ids.
const KEY_MAX: usize = 64;

/// The paths that a comparison has come by: each is one number.
#[derive(Debug)]
pub(super) struct Paths {
    nodes: Vec<(u32, u32, Segment)>,
    index: HashMap<(u32, u64), u32, ahash::RandomState>,
}

#[derive(Debug)]
enum Segment {
    Root,
    AnyIndex,
    AnyKey,
    Key(Box<str>),
}

impl Paths {
    /// The root alone, which is path 0.
    pub(super) fn new() -> Self {
        Self { nodes: vec![(0, 0, Segment::Root)], index: HashMap::default() }
    }

    pub(super) fn depth(&self, path: u32) -> u32 {
        self.nodes[path as usize].1
    }

    /// The path of an element.
    pub(super) fn element(&mut self, parent: u32) -> u32 {
        self.below(parent, 0, Segment::AnyIndex)
    }

    /// The path of a member; `hash` is the hash of its key.
    pub(super) fn member(&mut self, parent: u32, key: &str, hash: u64) -> u32 {
        if looks_like_id(key) {
            return self.below(parent, 1, Segment::AnyKey);
        }
        match self.index.get(&(parent, hash)) {
            Some(&path) => path,
            None => self.below(parent, hash, Segment::Key(key.into())),
        }
    }

    fn below(&mut self, parent: u32, hash: u64, segment: Segment) -> u32 {
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX); // fewer than values
        let (depth, nodes) = (self.depth(parent) + 1, &mut self.nodes);
        *self.index.entry((parent, hash)).or_insert_with(|| {
            nodes.push((parent, depth, segment));
            number
        })
    }

    /// The path as a pattern that means it.
    pub(super) fn text(&self, path: u32) -> Box<str> {
        let (mut at, mut segments) = (path, Vec::new());
        while at != 0 {
            let (parent, _, segment) = &self.nodes[at as usize];
            segments.push(segment);
            at = *parent;
        }
        let mut text = "$".to_owned();
        for segment in segments.iter().rev() {
            match segment {
                Segment::Root => {}
                Segment::AnyIndex => text.push_str("[*]"),
                Segment::AnyKey => text.push_str(".*"),
                Segment::Key(key) => write_key(&mut text, key),
            }
        }
        text.into()
    }
}

/// Whether a key is data and not a name: a number, a date, a UUID, a long hexadecimal id, an address, or very long.
fn looks_like_id(key: &str) -> bool {
    let bytes = key.as_bytes();
    let some_digit = bytes.iter().any(u8::is_ascii_digit);
    let hexadecimal = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    key.len() > KEY_MAX
        || key.contains('@')
        || some_digit && bytes.iter().all(|byte| byte.is_ascii_digit() || b"-_:.+TZ".contains(byte))
        || some_digit && bytes.len() >= 16 && bytes.iter().all(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_names() {
        for id in ["0", "4711", "-3", "2026-11-21", "2026-11-21T10:00:00Z", "10.0.0.1", "ana@example.com", "1_2"] {
            assert!(looks_like_id(id), "{id}");
        }
        assert!(looks_like_id("0190b5c2-7e4a-7c3b-9d2e-1f2a3b4c5d6e") && looks_like_id("5f2b6c0d9e8a7b1c"));
        assert!(looks_like_id(&"a".repeat(65)));
        for name in ["", "a", "a1", "v2", "ipv4", "deadbeef", "line_1", "-", "added", "T", "accede-defaced-decade"] {
            assert!(!looks_like_id(name), "{name}");
        }
    }

    #[test]
    fn paths_are_folded_and_shared() {
        let mut paths = Paths::new();
        let items = paths.member(0, "items", 11);
        let (first, second) = (paths.element(items), paths.element(items));
        assert_eq!(first, second);
        assert_eq!(paths.member(first, "17", 12), paths.member(first, "18", 13));
        let odd = paths.member(first, "a b", 14);
        assert_eq!(&*paths.text(odd), "$.items[*][\"a b\"]");
        let name = paths.member(first, "18", 13);
        assert_eq!((&*paths.text(name), paths.depth(name), &*paths.text(0)), ("$.items[*].*", 3, "$"));
    }
}
