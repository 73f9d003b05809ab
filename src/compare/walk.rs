//! Walks two documents side by side, only where their hashes differ.
//!
//! The elements of an array are matched by content at any index (`matching.rs`); the remaining elements of both sides
//! are paired in order and walked. So an inserted, removed or moved element does not make all later elements differ.

use std::collections::HashSet;

use super::criteria::Criteria;
use super::json::{JsonTree, JsonType};
use super::matching::{Order, matching};
use super::number::close;
use super::path::{DEPTH_MAX, Paths};
use super::snippet::{ABSENT, REDACTED, of_text, of_value};
use super::{Comparison, Difference, DifferenceKind, ResponseField};

/// A walk through the documents of the primary and of the other.
struct Walk<'a> {
    a: JsonTree<'a>,
    b: JsonTree<'a>,
    paths: Paths,
    pairs: Vec<(u32, u32, u32)>,
    found: HashSet<(u32, DifferenceKind), ahash::RandomState>,
    differences: Vec<Difference>,
    most: usize,
    truncated: bool,
}

/// The object whose members are compared.
struct Parent {
    path: u32,
    redacted: bool,
}

/// The values of a field on both sides, as a report shows them.
struct Samples {
    primary: Box<str>,
    other: Box<str>,
}

/// Adds the differences of two documents to a comparison, up to `most` of them in all.
pub(super) fn compare<'a>(
    mut a: JsonTree<'a>,
    mut b: JsonTree<'a>,
    criteria: &Criteria,
    most: usize,
    comparison: &mut Comparison,
) {
    a.weigh(criteria);
    b.weigh(criteria);
    let mut walk = Walk {
        a,
        b,
        paths: Paths::new(),
        pairs: vec![(0, 0, 0)],
        found: HashSet::default(),
        differences: Vec::new(),
        most: most.saturating_sub(comparison.differences.len()),
        truncated: false,
    };
    while let Some((a, b, path)) = walk.pairs.pop() {
        if walk.truncated {
            break;
        }
        walk.pair(a, b, path);
    }
    comparison.truncated |= walk.truncated;
    comparison.differences.append(&mut walk.differences);
}

impl Walk<'_> {
    fn pair(&mut self, at: u32, bt: u32, path: u32) {
        let (a, b) = (self.a.node(at), self.b.node(bt));
        if a.ignored || b.ignored || a.is_same(b) {
            return;
        }
        let boolean = |form| matches!(form, JsonType::True | JsonType::False);
        if a.form != b.form && !(boolean(a.form) && boolean(b.form)) {
            self.differ(path, DifferenceKind::Type, Some(at), Some(bt));
            return;
        }
        match a.form {
            JsonType::Array | JsonType::Object if self.paths.depth(path) >= DEPTH_MAX => {
                self.differ(path, DifferenceKind::Value, Some(at), Some(bt));
            }
            JsonType::Array => self.elements(at, bt, path),
            JsonType::Object => self.members(at, bt, path),
            JsonType::Number => {
                if !a.within().is_some_and(|within| close(self.a.text_of(a), self.b.text_of(b), within)) {
                    self.differ(path, DifferenceKind::Value, Some(at), Some(bt));
                }
            }
            JsonType::Null | JsonType::False | JsonType::True | JsonType::String => {
                self.differ(path, DifferenceKind::Value, Some(at), Some(bt));
            }
        }
    }

    fn elements(&mut self, at: u32, bt: u32, path: u32) {
        let (a, b): (Vec<u32>, Vec<u32>) = (self.a.below(at).collect(), self.b.below(bt).collect());
        let order = if self.a.node(at).unordered { Order::Free } else { Order::Counts };
        let elements =
            |tree: &JsonTree<'_>, all: &[u32]| all.iter().map(|&at| tree.node(at).element()).collect::<Vec<_>>();
        let mut found = matching(&elements(&self.a, &a), &elements(&self.b, &b), order);
        if a.len() != b.len() {
            let redacted = self.a.node(at).redacted;
            let show = |elements| if redacted { REDACTED.into() } else { counted(elements) };
            self.report(path, DifferenceKind::Length, || Samples { primary: show(a.len()), other: show(b.len()) });
        }
        if order == Order::Counts && found.reordered {
            self.differ(path, DifferenceKind::Order, Some(at), Some(bt));
        }
        if order == Order::Free {
            // Sorted by text, so that similar elements are paired.
            self.a.sort_by_text(&a, &mut found.left);
            self.b.sort_by_text(&b, &mut found.right);
        }
        found.pairs.extend(found.left.iter().copied().zip(found.right.iter().copied()));
        if !found.pairs.is_empty() {
            let redacted = self.a.node(at).redacted;
            let element = if redacted { self.paths.hidden(path) } else { self.paths.element(path) };
            // Reversed, because pairs are popped from the end and the first element is walked first.
            let pairs = found.pairs.iter().map(|&(left, right)| (a[left], b[right], element));
            let from = self.pairs.len();
            self.pairs.extend(pairs);
            self.pairs[from..].reverse();
        }
    }

    fn members(&mut self, at: u32, bt: u32, path: u32) {
        let members = |tree: &JsonTree<'_>, at: u32| {
            let mut members: Vec<(u64, u32)> = tree
                .below(at)
                .map(|at| (tree.node(at).key_hash, at))
                .filter(|(_, at)| !tree.node(*at).ignored)
                .collect();
            members.sort_unstable();
            members
        };
        let (a, b) = (members(&self.a, at), members(&self.b, bt));
        let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
        let parent = Parent { path, redacted: self.a.node(at).redacted };
        let from = self.pairs.len();
        loop {
            let (left, right) = (a.peek().map(|one| one.0), b.peek().map(|one| one.0));
            let (left, right) = match (left, right) {
                (None, None) => break,
                (Some(left), Some(right)) if left == right => (a.next(), b.next()),
                (Some(left), right) if right.is_none_or(|right| left < right) => (a.next(), None),
                (Some(_) | None, _) => (None, b.next()),
            };
            let of = |one: Option<(u64, u32)>| one.map(|(_, at)| at);
            self.member(of(left), of(right), &parent);
        }
        // In the order of the primary text; until here the members are sorted by hash.
        self.pairs[from..].sort_unstable_by_key(|pair| std::cmp::Reverse(pair.0));
    }

    /// Compares a member that is on one side or on both.
    fn member(&mut self, a: Option<u32>, b: Option<u32>, parent: &Parent) {
        if a.zip(b).is_some_and(|(a, b)| self.a.node(a).is_same(self.b.node(b))) {
            return;
        }
        let (tree, at) = match (a, b) {
            (Some(at), _) => (&self.a, at),
            (None, Some(at)) => (&self.b, at),
            (None, None) => return,
        };
        let node = tree.node(at);
        let path = if parent.redacted {
            self.paths.hidden(parent.path)
        } else {
            self.paths.member(parent.path, &tree.key_of(node).unwrap_or_default(), node.key_hash)
        };
        match (a, b) {
            (Some(a), Some(b)) => self.pairs.push((a, b, path)),
            (Some(_), None) => self.differ(path, DifferenceKind::Missing, a, None),
            (None, _) => self.differ(path, DifferenceKind::Extra, None, b),
        }
    }

    /// Reports that two values differ.
    fn differ(&mut self, path: u32, kind: DifferenceKind, a: Option<u32>, b: Option<u32>) {
        if self.is_new(path, kind) {
            let show = |tree: &JsonTree<'_>, at: Option<u32>| at.map_or_else(|| ABSENT.into(), |at| of_value(tree, at));
            let samples = Samples { primary: show(&self.a, a), other: show(&self.b, b) };
            self.push(path, kind, samples);
        }
    }

    fn report(&mut self, path: u32, kind: DifferenceKind, samples: impl FnOnce() -> Samples) {
        if self.is_new(path, kind) {
            self.push(path, kind, samples());
        }
    }

    /// The reported field: a difference below a hidden path is reported as a value that differs there.
    fn reported(&self, path: u32, kind: DifferenceKind) -> (u32, DifferenceKind) {
        self.paths.visible_parent(path).map_or((path, kind), |shown| (shown, DifferenceKind::Value))
    }

    /// Whether a field is not listed yet and the list is not full.
    fn is_new(&mut self, path: u32, kind: DifferenceKind) -> bool {
        let new = !self.found.contains(&self.reported(path, kind));
        if new && self.differences.len() >= self.most {
            self.truncated = true;
            return false;
        }
        new
    }

    fn push(&mut self, path: u32, kind: DifferenceKind, Samples { primary, other }: Samples) {
        let (path, kind) = self.reported(path, kind);
        self.found.insert((path, kind));
        let field = ResponseField { path: self.paths.text(path), kind };
        self.differences.push(Difference { field, primary, other });
        debug_assert!(self.differences.len() <= self.most, "the list is bounded");
    }
}

fn counted(elements: usize) -> Box<str> {
    of_text(&format!("{elements} elements"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{BodyView, ExchangeOutcome, Pattern, ResponseView, Tolerance};
    use http::{HeaderMap, HeaderValue, StatusCode};

    /// Compares two bodies as JSON, and returns the differences as text.
    fn described(criteria: &Criteria, a: &str, b: &str) -> Vec<String> {
        let headers =
            HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let outcome = |text| {
            let body = BodyView::whole(str::as_bytes(text));
            ExchangeOutcome::Answered(ResponseView { status: StatusCode::OK, headers: &headers, trailers: None, body })
        };
        let comparison = criteria.compare(&outcome(a), &outcome(b));
        let described = |d: &Difference| format!("{}: {} | {}", d.field, d.primary, d.other);
        comparison.differences.iter().map(described).collect()
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn differences_have_a_folded_path_and_a_kind() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(100), "]".repeat(100));
        let folded = format!("${} value: ", "[*]".repeat(64));
        for (a, b, differences) in [
            ("{\"a\":1,\"b\":[1,2]}", "{ \"b\" : [1, 2.0], \"a\" : 1e0 }", vec![]),
            ("{\"a\":1}", "{\"a\":2}", vec!["$.a value: 1 | 2"]),
            ("{\"a\":1}", "{\"a\":\"1\"}", vec!["$.a type: 1 | \"1\""]),
            ("{\"a\":null}", "{}", vec!["$.a missing: null | (absent)"]),
            ("{}", "{\"a\":{\"b\":1}}", vec!["$.a extra: (absent) | {\"b\":1}"]),
            ("{\"a\":true}", "{\"a\":false}", vec!["$.a value: true | false"]),
            ("{\"a\":null}", "{\"a\":false}", vec!["$.a type: null | false"]),
            ("[]", "{}", vec!["$ type: [] | {}"]),
            ("1", "2", vec!["$ value: 1 | 2"]),
            ("[1,2,3]", "[1,3]", vec!["$ length: 3 elements | 2 elements"]),
            ("[1,2,3]", "[3,1,2]", vec!["$ order: [1,2,3] | [3,1,2]"]),
            ("[1,2,3]", "[1,9,3]", vec!["$[*] value: 2 | 9"]),
            ("[1,2,3]", "[0,1,2,4]", vec!["$ length: 3 elements | 4 elements", "$[*] value: 3 | 0"]),
            ("[1,1,2]", "[1,2,2]", vec!["$[*] value: 1 | 2"]),
            ("[{\"a\":1},{\"a\":2}]", "[{\"a\":3},{\"a\":4}]", vec!["$[*].a value: 1 | 3"]),
            ("{\"u\":{\"17\":{\"n\":1}}}", "{\"u\":{\"17\":{\"n\":2}}}", vec!["$.u.{id}.n value: 1 | 2"]),
            ("{\"17\":0}", "{\"18\":0}", vec!["$.{id} missing: 0 | (absent)", "$.{id} extra: (absent) | 0"]),
            ("{\"a b\":1}", "{\"a\\u0020b\":2}", vec!["$[\"a b\"] value: 1 | 2"]),
            (
                "{\"a\":9007199254740993}",
                "{\"a\":9007199254740992}",
                vec!["$.a value: 9007199254740993 | 9007199254740992"],
            ),
            // Of members with the same key the last one counts.
            ("{\"a\":1,\"a\":2}", "{\"a\":2}", vec![]),
            ("{\"a\":1,\"a\":2}", "{\"a\":1}", vec!["$.a value: 2 | 1"]),
            (&deep("1"), &deep("1"), vec![]),
            // Malformed on one side, or on both.
            ("{\"a\":1}", "{\"a\":1", vec!["$ type: JSON | not JSON"]),
            ("{\"a\":NaN}", "{\"a\":1}", vec!["$ type: not JSON | JSON"]),
            ("{\"a\":NaN}", "{\"a\":NaN}\n", vec![]),
        ] {
            let found = described(&Criteria::default(), a, b);
            let mut sorted = found.clone();
            sorted.sort();
            let mut expected: Vec<_> = differences.iter().map(|one| (*one).to_owned()).collect();
            expected.sort();
            assert_eq!(sorted, expected, "{a} {b}");
        }
        let found = described(&Criteria::default(), &deep("1"), &deep("2"));
        assert!(found.len() == 1 && found[0].starts_with(&folded), "{found:?}");
        let both = described(&Criteria::default(), "{\"a\":NaN}", "{\"a\":NaM}");
        assert!(both.len() == 1 && both[0].starts_with("body value: 1 lines, 9 bytes"), "{both:?}");
    }

    #[test]
    fn ignored_fields_do_not_differ() {
        for (pattern, a, b, differences) in [
            ("$.ts", "{\"ts\":1,\"a\":1}", "{\"ts\":2,\"a\":1}", 0),
            ("$.ts", "{\"a\":{\"ts\":1}}", "{\"a\":{\"ts\":2}}", 1),
            ("$..ts", "{\"a\":[{\"ts\":1}]}", "{\"a\":[{}]}", 0),
            ("$.a", "{\"a\":{\"b\":[1,2]}}", "{\"a\":7}", 0),
            ("$.a", "{\"a\":1}", "{}", 0),
            ("$.a", "{}", "{\"a\":1}", 0),
            ("$.*.b", "{\"17\":{\"b\":1}}", "{\"17\":{\"b\":2}}", 0),
            ("$.{id}", "{\"17\":1,\"total\":5}", "{\"18\":1,\"total\":9}", 1),
            ("$.{id}", "{\"17\":1,\"total\":5}", "{\"18\":1,\"total\":5}", 0),
            ("$..{id}", "{\"u\":{\"17\":1},\"n\":1}", "{\"u\":{\"18\":1},\"n\":2}", 1),
            ("$.{id}.b", "{\"17\":{\"b\":1,\"c\":1}}", "{\"17\":{\"b\":2,\"c\":2}}", 1),
            ("$.a[*].b", "{\"a\":[{\"b\":1},{\"b\":2}]}", "{\"a\":[{\"b\":3},{\"b\":4}]}", 0),
            ("$.a[*]", "{\"a\":[1,2]}", "{\"a\":[3,4]}", 0),
            ("$.a[*]", "{\"a\":[1,2]}", "{\"a\":[3]}", 1),
            ("$..*", "{\"a\":1}", "{\"b\":[]}", 0),
            ("$..a..b", "{\"a\":{\"a\":{\"c\":{\"b\":1}}}}", "{\"a\":{\"a\":{\"c\":{\"b\":2}}}}", 0),
            ("$", "{\"a\":1}", "[]", 0),
            ("$", "{\"a\":1}", "no JSON", 0),
            ("body", "{\"a\":1}", "[]", 0),
            ("$[\"a b\"]", "{\"a b\":1}", "{\"a\\u0020b\":2}", 0),
        ] {
            let criteria = Criteria::new(&patterns(&[pattern]), &[], &[], &[]);
            assert_eq!(described(&criteria, a, b).len(), differences, "{pattern} {a} {b}");
        }
    }

    #[test]
    fn unordered_arrays_are_multisets() {
        let ignore = patterns(&["$.items[*].id"]);
        let criteria = Criteria::new(&ignore, &patterns(&["$.items"]), &[], &[]);
        let none: [String; 0] = [];
        assert_eq!(described(&criteria, "{\"items\":[1,2,2]}", "{\"items\":[2,1,2]}"), none);
        assert_eq!(described(&criteria, "{\"other\":[1,2]}", "{\"other\":[2,1]}").len(), 1);
        assert_eq!(described(&criteria, "{\"items\":[1,2]}", "{\"items\":[3,1]}"), ["$.items[*] value: 2 | 3"]);
        let (a, b) = (
            "{\"items\":[{\"id\":1,\"n\":1},{\"id\":2,\"n\":2}]}",
            "{\"items\":[{\"id\":8,\"n\":2},{\"id\":9,\"n\":1}]}",
        );
        assert_eq!(described(&criteria, a, b), none);
        // Also as elements of an array that is unordered itself.
        let criteria = Criteria::new(&[], &patterns(&["$", "$[*]"]), &[], &[]);
        assert_eq!(described(&criteria, "[[1,2],[3,4]]", "[[4,3],[2,1]]"), none);
    }

    #[test]
    fn numbers_within_their_tolerance_are_equal() {
        let pattern = Pattern::parse("$.eta_s").unwrap();
        let criteria = Criteria::new(&[], &[], &[Tolerance { pattern, within: 0.01 }], &[]);
        let count = |a, b| described(&criteria, a, b).len();
        assert_eq!(count("{\"eta_s\":1.001}", "{\"eta_s\":1.008}"), 0);
        assert_eq!(count("{\"eta_s\":1.001}", "{\"eta_s\":1.018}"), 1);
        assert_eq!(count("{\"eta_s\":1}", "{\"eta_s\":\"1\"}"), 1);
        assert_eq!(count("{\"a\":1.001}", "{\"a\":1.002}"), 1);
    }

    #[test]
    fn tolerance_applies_in_arrays_too() {
        let criteria = |unordered: &[&str]| {
            let tolerance =
                ["$.a[*]", "$.a[*].n"].map(|text| Tolerance { pattern: Pattern::parse(text).unwrap(), within: 0.01 });
            Criteria::new(&[], &patterns(unordered), &tolerance, &[])
        };
        let (ordered, free) = (criteria(&[]), criteria(&["$.a"]));
        let found =
            |criteria, a: &str, b: &str| described(criteria, &format!("{{\"a\":{a}}}"), &format!("{{\"a\":{b}}}"));
        for (a, b, as_ordered, as_free) in [
            ("[1.000,1.001]", "[1.001,1.000]", vec![], vec![]),
            ("[1.001,5.0]", "[5.0005,1.0009]", vec!["$.a order: [1.001,5.0] | [5.0005,1.0009]"], vec![]),
            ("[1,5]", "[1,5.1]", vec!["$.a[*] value: 5 | 5.1"], vec!["$.a[*] value: 5 | 5.1"]),
            ("[1.0,1.009]", "[1.009,0.995]", vec!["$.a[*] value: 1.009 | 0.995"], vec![]),
            (
                "[1,5,9]",
                "[1.001,9.001]",
                vec!["$.a length: 3 elements | 2 elements"],
                vec!["$.a length: 3 elements | 2 elements"],
            ),
            ("[1e400]", "[1e400]", vec![], vec![]),
            ("[1,\"x\"]", "[\"1\",\"x\"]", vec!["$.a[*] type: 1 | \"1\""], vec!["$.a[*] type: 1 | \"1\""]),
            ("[[1,2]]", "[[1,3]]", vec!["$.a[*][*] value: 2 | 3"], vec!["$.a[*][*] value: 2 | 3"]),
            // Members in any order, and the number may stand behind others.
            ("[{\"k\":\"x\",\"n\":1}]", "[{\"n\":1.001,\"k\":\"x\"}]", vec![], vec![]),
            (
                "[{\"k\":\"x\",\"n\":1},{\"k\":\"y\",\"n\":2}]",
                "[{\"k\":\"y\",\"n\":9},{\"k\":\"x\",\"n\":1.001}]",
                vec!["$.a[*].n value: 2 | 9"],
                vec!["$.a[*].n value: 2 | 9"],
            ),
        ] {
            assert_eq!(found(&ordered, a, b), as_ordered, "{a} {b}");
            assert_eq!(found(&free, a, b), as_free, "unordered {a} {b}");
        }
        // Two numbers with a tolerance: the second one is compared if the first ones match.
        let pattern = Pattern::parse("$..n").unwrap();
        let criteria = Criteria::new(&[], &patterns(&["$"]), &[Tolerance { pattern, within: 0.01 }], &[]);
        assert_eq!(
            described(&criteria, "[{\"a\":{\"n\":1}},{\"n\":4}]", "[{\"n\":4.001},{\"a\":{\"n\":1.001}}]"),
            [""; 0]
        );
        assert_eq!(
            described(&criteria, "[{\"a\":{\"n\":1},\"n\":7}]", "[{\"a\":{\"n\":1},\"n\":8}]"),
            ["$[*].n value: 7 | 8"]
        );
    }

    #[test]
    fn unmatched_elements_of_unordered_arrays_are_paired_by_text() {
        let criteria = Criteria::new(&[], &patterns(&["$"]), &[], &[]);
        let (a, b) = ("[{\"id\":1,\"v\":1},{\"id\":2,\"v\":1}]", "[{\"id\":2,\"v\":2},{\"id\":1,\"v\":2}]");
        assert_eq!(described(&criteria, a, b), ["$[*].v value: 1 | 2"]);
    }

    #[test]
    fn redacted_values_are_never_shown() {
        let criteria = Criteria::new(&[], &[], &[], &patterns(&["$.card", "$..email"]));
        let (a, b) =
            ("{\"card\":{\"no\":4111},\"u\":[]}", "{\"card\":{\"no\":4222},\"u\":[{\"email\":\"ana@x\",\"n\":\"é\"}]}");
        let found = described(&criteria, a, b).join("\n");
        assert!(found.contains("$.card value: (redacted) | (redacted)"), "{found}");
        assert!(!found.contains("4111") && !found.contains("ana"), "{found}");
        let (a, b) = ("{}", "{\"u\":{\"email\":\"ana@x\",\"n\":\"é\"}}");
        assert_eq!(described(&criteria, a, b), ["$.u extra: (absent) | {\"email\":(redacted),\"n\":\"é\"}"]);
        let long = format!("{{\"a\":\"{}\"}}", "é".repeat(500));
        let found = described(&criteria, "{}", &long);
        assert!(found[0].len() < 250 && found[0].ends_with("é…"), "{found:?}");
    }

    #[test]
    fn keys_below_redacted_values_are_not_reported() {
        let criteria = Criteria::new(&[], &[], &[], &patterns(&["$.users", "$.log[*].by"]));
        let found = |a, b| described(&criteria, a, b);
        let users = ["$.users value: (redacted) | (redacted)"];
        assert_eq!(found("{\"users\":{\"ana\":{\"n\":1}}}", "{\"users\":{\"ana\":{\"n\":2}}}"), users);
        assert_eq!(found("{\"users\":{\"ana\":1}}", "{\"users\":{\"ana\":[]}}"), users);
        assert_eq!(
            found("{\"users\":{\"ana\":1,\"bob\":1}}", "{\"users\":{\"ana\":2,\"eve\":1}}")[0]
                .replace("(absent)", "(redacted)"),
            users[0]
        );
        assert_eq!(found("{\"users\":[[1]]}", "{\"users\":[[2]]}"), users);
        assert_eq!(found("{\"users\":[1]}", "{\"users\":[1,2]}"), ["$.users length: (redacted) | (redacted)"]);
        assert_eq!(found("{\"users\":{}}", "{}"), ["$.users missing: (redacted) | (absent)"]);
        // Reported once for all differences below it.
        assert_eq!(
            found("{\"log\":[{\"by\":\"ana\"},{\"by\":{\"a\":1}}]}", "{\"log\":[{\"by\":\"bob\"},{\"by\":{\"a\":2}}]}"),
            ["$.log[*].by value: (redacted) | (redacted)"]
        );
    }

    #[test]
    fn paths_are_bounded_and_valid_patterns() {
        let key = "\\u0007".repeat(60);
        let deep = |value: u8| format!("{}{value}{}", format!("{{\"{key}\":").repeat(8), "}".repeat(8));
        let found = described(&Criteria::default(), &deep(1), &deep(2));
        let (path, rest) = found[0].split_once(" value: ").unwrap();
        assert_eq!((found.len(), rest), (1, "1 | 2"));
        assert!((300..=512).contains(&path.len()), "{path}");
        assert_eq!(described(&Criteria::new(&patterns(&[path]), &[], &[], &[]), &deep(1), &deep(2)), [""; 0]);
        // All differences below the longest path are one field.
        let wide = |value: u8| {
            let members: Vec<_> = (1..=20).map(|at| format!("\"{}\":{value}", "m".repeat(at))).collect();
            let names: Vec<_> = (0..8).map(|at| format!("{{\"{}{at}\":", "n".repeat(60))).collect();
            format!("{}{{{}}}{}", names.concat(), members.join(","), "}".repeat(8))
        };
        let found = described(&Criteria::default(), &wide(1), &wide(2));
        assert_eq!(found.len(), 512 - "$".len() - 8 * (".0".len() + 60) - ".".len() + 1, "{found:?}");
    }

    #[test]
    fn fields_of_one_comparison_are_bounded() {
        let wide = |value| {
            let members: Vec<_> = (0..50_000).map(|n| format!("\"k{n:x}g\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let (a, b, headers) = (wide(1), wide(2), HeaderMap::new());
        let outcome = |text: &'_ str| -> (usize, bool) {
            let of = |text| {
                let body = BodyView::whole(str::as_bytes(text));
                ExchangeOutcome::Answered(ResponseView {
                    status: StatusCode::OK,
                    headers: &headers,
                    trailers: None,
                    body,
                })
            };
            let comparison = Criteria::default().compare(&of(text), &of(&b));
            (comparison.differences.len(), comparison.truncated)
        };
        assert_eq!(outcome(&a), (crate::compare::FIELDS_MAX, true));
        assert_eq!(outcome(&b), (0, false));
    }
}
