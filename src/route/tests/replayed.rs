//! What a log's buckets and reasons are enough for.

use super::*;

fn checkout(weight: u32) -> File {
    file(vec![route("checkout", "h", "/*")], split("checkout", &[("canary", weight)]))
}

fn salted(weight: u32) -> File {
    let mut file = checkout(weight);
    file.first().salt = Salt::new("other");
    file
}

/// Replays a request whose caller is unknown, and checks how many were moved and how many were undecidable.
#[track_caller]
fn check(old: &File, new: &File, noted: LoggedDecision<'_>, expected: (u64, u64)) {
    let replayed = asked(old, new, LoggedRoute::Unknown, noted);
    assert_eq!((replayed.moved, replayed.unknown), expected, "{replayed:?}");
}

fn asked(old: &File, new: &File, route: LoggedRoute<'_>, decision: LoggedDecision<'_>) -> Replayed {
    let fields = Fields::new();
    let request = ExplainRequest {
        method: &http::Method::GET,
        host: "h",
        path_and_query: "/x",
        fields: &fields,
        peer: "192.0.2.1".parse().unwrap(),
        client_cert: None,
        listener: "edge",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: crate::route::Facts::default(),
    };
    let mut replay = Replay::new(old.effective(), new.effective());
    replay.add(&LoggedRequest { request, route, decision });
    replay.finish()
}

#[test]
fn a_request_logged_on_another_route_is_undecidable() {
    let (five, none) = (checkout(50_000), file(vec![], split("none", &[])));
    let counts = |old: &File, logged| {
        let replayed = asked(old, &none, logged, LoggedDecision::Complete);
        (replayed.requests, replayed.moved, replayed.unknown, replayed.rerouted)
    };
    assert_eq!(counts(&five, LoggedRoute::Name("checkout")), (1, 1, 0, 0));
    assert_eq!(counts(&five, LoggedRoute::Name("other")), (1, 0, 1, 1));
    assert_eq!(counts(&five, LoggedRoute::None), (1, 0, 1, 1));
    assert_eq!(counts(&none, LoggedRoute::None), (1, 0, 0, 0));
    assert_eq!(counts(&none, LoggedRoute::Name("checkout")), (1, 0, 1, 1));
}

#[test]
fn a_bucket_is_enough_while_salt_and_keys_stay() {
    let at = |bucket| LoggedDecision::ByWeight { route: "checkout", bucket: Some(bucket) };
    let (five, ten) = (checkout(50_000), checkout(100_000));
    check(&five, &ten, at(49_999), (0, 0));
    check(&five, &ten, at(50_000), (1, 0));
    check(&five, &ten, at(100_000), (0, 0));
    for stop in [Stop::Kill, Stop::Latch] {
        let stopped = checkout(50_000).having(|state| state.stop(VariantId(1), stop));
        check(&five, &stopped, at(0), (1, 0));
        check(&stopped, &stopped, at(0), (0, 0));
    }
    check(&five, &checkout(50_000).having(SplitState::kill), at(0), (1, 0));
    check(&five, &salted(50_000), at(0), (0, 1));
    // A variant with all buckets needs no bucket to be decided.
    let full = salted(1_000_000);
    check(&five, &full, at(999_999), (1, 0));
    check(&five, &full, at(0), (0, 0));
}

#[test]
fn a_new_bucket_needs_the_key_itself() {
    let at = LoggedDecision::ByWeight { route: "checkout", bucket: Some(1) };
    let keyed = |mut file: File, sticky: &[StickyKey]| {
        file.first().sticky = sticky.into();
        file
    };
    // The log has the address, so the new bucket is certain.
    let by_address = [StickyKey::ClientIp];
    let replayed =
        asked(&keyed(checkout(500_000), &by_address), &keyed(salted(500_000), &by_address), LoggedRoute::Unknown, at);
    assert_eq!(replayed.unknown, 0, "{replayed:?}");
    // The log has no user: whether the bucket was the user's or the address's is open.
    let by_user = [StickyKey::User, StickyKey::ClientIp];
    check(&keyed(checkout(500_000), &by_user), &keyed(salted(500_000), &by_user), at, (0, 1));
}

#[test]
fn a_caller_without_a_key_gets_none() {
    let none = LoggedDecision::ByWeight { route: "checkout", bucket: None };
    check(&checkout(50_000), &checkout(100_000), none, (0, 0));
    check(&checkout(50_000), &checkout(1_000_000), none, (1, 0));
}

#[test]
fn a_caller_picked_by_unknown_properties_is_undecidable() {
    check(&checkout(50_000), &checkout(100_000), LoggedDecision::ByRule, (0, 1));
}

#[test]
fn another_upstream_is_another_answer() {
    let mut other = checkout(50_000);
    other.upstreams[0].name = "w1".into();
    let replayed = asked(&checkout(50_000), &other, LoggedRoute::Unknown, LoggedDecision::Complete);
    let moves: Vec<_> = replayed.moves.into_keys().collect();
    assert_eq!(moves, [("checkout stable by v1".to_owned(), "checkout stable by w1".to_owned())]);
}
