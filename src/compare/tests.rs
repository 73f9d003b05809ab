//! Properties of comparisons of any two responses.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use proptest::prelude::*;

use super::{BodyView, Comparison, Criteria, DifferenceKind, ExchangeOutcome, Pattern, ResponseField, ResponseView};

fn compare(criteria: &Criteria, a: &[u8], b: &[u8]) -> Comparison {
    let headers: HeaderMap =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    let outcome = |body| {
        ExchangeOutcome::Answered(ResponseView {
            status: StatusCode::OK,
            headers: &headers,
            trailers: None,
            body: BodyView::whole(body),
        })
    };
    criteria.compare(&outcome(a), &outcome(b))
}

/// JSON with few different keys and values, so that two documents have much in common.
fn json() -> impl Strategy<Value = String> {
    const SCALARS: &[&str] =
        &["null", "true", "false", "0", "1", "1.0", "-2.5e3", "\"\"", "\"a\"", "\"\\u0061\"", "\"é\""];
    let leaf = proptest::sample::select(SCALARS).prop_map(str::to_owned);
    let keys = proptest::sample::select(&["a", "b", "ts", "a b", "17", "18", "\\\"", "k\\u00e9y"][..]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let members = proptest::collection::vec((keys.clone(), inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|elements| format!("[{}]", elements.join(", "))),
            members.prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn reversed(kind: DifferenceKind) -> DifferenceKind {
    match kind {
        DifferenceKind::Missing => DifferenceKind::Extra,
        DifferenceKind::Extra => DifferenceKind::Missing,
        DifferenceKind::Status
        | DifferenceKind::Header
        | DifferenceKind::Type
        | DifferenceKind::Value
        | DifferenceKind::Order
        | DifferenceKind::Length
        | DifferenceKind::Opaque => kind,
    }
}

proptest! {
    #[test]
    fn an_answer_does_not_differ_from_itself(a in json(), bytes in any::<Vec<u8>>()) {
        let none = Criteria::default();
        prop_assert!(compare(&none, a.as_bytes(), a.as_bytes()).is_equal());
        prop_assert!(compare(&none, &bytes, &bytes).is_equal());
        let spaced = format!(" {}\n", a.replace(',', " ,\t"));
        prop_assert!(compare(&none, a.as_bytes(), spaced.as_bytes()).is_equal());
    }

    #[test]
    fn missing_on_one_side_is_extra_on_the_other(a in json(), b in json()) {
        let forth = compare(&Criteria::default(), a.as_bytes(), b.as_bytes());
        let back = compare(&Criteria::default(), b.as_bytes(), a.as_bytes());
        let forth: BTreeSet<ResponseField> = forth.fields().into_iter().collect();
        let back = back.fields().into_iter().map(|field| ResponseField { kind: reversed(field.kind), ..field });
        prop_assert_eq!(forth, back.collect());
    }

    #[test]
    fn the_path_of_a_difference_ignores_it(a in json(), b in json()) {
        let (mut patterns, mut reported) = (Vec::new(), BTreeSet::new());
        // Ignoring a field may change the matching of elements and show new differences; repeat until all are ignored.
        loop {
            let found = compare(&Criteria::new(&patterns, &[], &[], &[]), a.as_bytes(), b.as_bytes());
            if found.is_equal() {
                break;
            }
            for field in found.fields() {
                patterns.push(Pattern::parse(&field.path).unwrap());
                prop_assert!(reported.insert(field.clone()), "{} was ignored", field);
            }
        }
    }

    #[test]
    fn nothing_differs_if_everything_is_ignored(a in json(), b in any::<Vec<u8>>()) {
        for text in ["$", "body"] {
            let criteria = Criteria::new(&[Pattern::parse(text).unwrap()], &[], &[], &[]);
            prop_assert!(compare(&criteria, a.as_bytes(), &b).is_equal());
        }
    }

    #[test]
    fn keys_that_look_like_ids_make_one_field(ids in proptest::collection::hash_set(any::<u64>(), 1..50)) {
        let object = |value: u8| {
            let members: Vec<_> = ids.iter().map(|id| format!("\"{id}\":{value}")).collect();
            format!("{{\"u\":{{{}}}}}", members.join(","))
        };
        let found = compare(&Criteria::default(), object(1).as_bytes(), object(2).as_bytes());
        prop_assert_eq!(found.fields(), vec![ResponseField { path: "$.u.{id}".into(), kind: DifferenceKind::Value }]);
    }

    #[test]
    fn an_unordered_shuffle_is_equal(elements in proptest::collection::vec(json(), 0..12), seed in any::<u64>()) {
        let mut shuffled = elements.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let (a, b) = (format!("[{}]", elements.join(",")), format!("[{}]", shuffled.join(",")));
        let unordered = Criteria::new(&[], &[Pattern::parse("$").unwrap()], &[], &[]);
        prop_assert!(compare(&unordered, a.as_bytes(), b.as_bytes()).is_equal());
        let ordered = compare(&Criteria::default(), a.as_bytes(), b.as_bytes());
        prop_assert!(ordered.fields().iter().all(|field| field.kind == DifferenceKind::Order && &*field.path == "$"));
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in any::<String>(), steps in "\\$[.*\\[\\]\"a\\\\]{0,12}") {
        for text in [text, steps] {
            if let Err(error) = Pattern::parse(&text) {
                prop_assert!(text.is_char_boundary(error.at) && !error.help.is_empty(), "{:?} {}", text, error);
            }
        }
    }
}
