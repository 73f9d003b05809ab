//! Folded paths: the position of a value, without indexes and without keys that look like ids. A path ends at a
//! redacted value, because keys can be as private as values.

use std::collections::HashMap;

use super::pattern::write_key;

/// The maximum depth of a path; a deeper value is reported as its ancestor at that depth.
pub(super) const DEPTH_MAX: u32 = 64;
/// The maximum length of a path in bytes; a value with a longer path is reported as its ancestor.
const LENGTH_MAX: usize = 512;
/// Longer keys are treated as ids.
const KEY_MAX: usize = 64;

/// The paths of a comparison, each with an index.
#[derive(Debug)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    index: HashMap<(u32, u64), u32, ahash::RandomState>,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    depth: u32,
    /// The length of its text in bytes.
    length: usize,
    segment: Segment,
}

#[derive(Debug)]
enum Segment {
    Root,
    AnyIndex,
    AnyId,
    Key(Box<str>),
    /// Any value below its parent; reported as the parent.
    Hidden,
}

impl Paths {
    /// Only the root, which is path 0.
    pub(super) fn new() -> Self {
        let root = Node { parent: 0, depth: 0, length: 1, segment: Segment::Root };
        Self { nodes: vec![root], index: HashMap::default() }
    }

    pub(super) fn depth(&self, path: u32) -> u32 {
        self.nodes[path as usize].depth
    }

    /// The path of an element.
    pub(super) fn element(&mut self, parent: u32) -> u32 {
        self.below(parent, 0, Segment::AnyIndex)
    }

    /// The path of a member; `hash` is the hash of its key.
    pub(super) fn member(&mut self, parent: u32, key: &str, hash: u64) -> u32 {
        if looks_like_id(key) {
            return self.below(parent, 1, Segment::AnyId);
        }
        match self.index.get(&(parent, hash)) {
            Some(&path) => path,
            None => self.below(parent, hash, Segment::Key(key.into())),
        }
    }

    /// The path for all values below a redacted one.
    pub(super) fn hidden(&mut self, parent: u32) -> u32 {
        if self.visible_parent(parent).is_some() { parent } else { self.below(parent, 2, Segment::Hidden) }
    }

    /// The path that is reported instead of a hidden one.
    pub(super) fn visible_parent(&self, path: u32) -> Option<u32> {
        let node = &self.nodes[path as usize];
        matches!(node.segment, Segment::Hidden).then_some(node.parent)
    }

    fn below(&mut self, parent: u32, hash: u64, segment: Segment) -> u32 {
        if let Some(&known) = self.index.get(&(parent, hash)) {
            return known;
        }
        let (depth, length) = (self.depth(parent) + 1, self.nodes[parent as usize].length + segment.text().len());
        if length > LENGTH_MAX {
            return self.hidden(parent);
        }
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX); // fewer than values
        debug_assert!(depth <= DEPTH_MAX && length <= LENGTH_MAX, "a reported path is a valid pattern");
        self.nodes.push(Node { parent, depth, length, segment });
        self.index.insert((parent, hash), number);
        number
    }

    /// The path as a pattern.
    pub(super) fn text(&self, path: u32) -> Box<str> {
        let (mut at, mut segments) = (path, Vec::new());
        while at != 0 {
            let node = &self.nodes[at as usize];
            segments.push(node.segment.text());
            at = node.parent;
        }
        let steps: String = segments.into_iter().rev().collect();
        format!("${steps}").into()
    }
}

impl Segment {
    /// The text of the step.
    fn text(&self) -> String {
        match self {
            Self::Root | Self::Hidden => String::new(),
            Self::AnyIndex => "[*]".to_owned(),
            Self::AnyId => ".{id}".to_owned(),
            Self::Key(key) => {
                let mut step = String::new();
                write_key(&mut step, key);
                step
            }
        }
    }
}

/// Whether a key looks like data instead of a name: a number, a date, a UUID, a long hexadecimal id, an address, or
/// long text.
pub(super) fn looks_like_id(key: &str) -> bool {
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
    fn ids_are_distinguished_from_names() {
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
        assert_eq!((&*paths.text(name), paths.depth(name), &*paths.text(0)), ("$.items[*].{id}", 3, "$"));
    }
}
