//! The laws of kills by people over those of the file.

use std::time::Duration;

use proptest::prelude::*;

use super::shadow::shadowed;
use super::*;

const ROUTES: [&str; 3] = ["r0", "r1", "r2"];
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Three routes with two variants beside stable each, and what the file kills. The last one has a shadow.
fn killing(kill: Kill, by_file: &[(usize, u16)]) -> File {
    let routes: Vec<Route> = ROUTES.iter().map(|name| route(name, "", &format!("/{name}"))).collect();
    let arms = || split("salt", &[("a", 100_000), ("b", 200_000)]);
    let mut file = file(routes, arms());
    let mut states = vec![arms().state; ROUTES.len()];
    for (at, variant) in by_file {
        match variant {
            0 => states[*at].kill(),
            3 => states[*at].kill_shadow(),
            id => states[*at].stop(VariantId(*id), Stop::Kill),
        }
    }
    for route in &mut file.rules.routes {
        let has_shadow = route.name == "r2";
        let arms = if has_shadow { shadowed(arms(), BUCKETS, SampleBy::Request) } else { arms() };
        route.action = Action::Split(arms.split);
    }
    file.overlay = Overlay::new(kill, states);
    file
}

fn any_file() -> impl Strategy<Value = File> {
    let tenants = proptest::sample::subsequence(TENANTS.to_vec(), 0..=2);
    let by_file = proptest::collection::vec((0..3_usize, 0..=3_u16), 0..3);
    let close = proptest::option::of(1..4_u64);
    (proptest::bool::weighted(0.2), tenants, close, by_file).prop_map(|(all, tenants, close, by_file)| {
        let tenants = TenantList::new(tenants.into_iter().map(Into::into));
        killing(Kill { all, tenants, close_streams: close.map(Duration::from_secs) }, &by_file)
    })
}

fn any_scope() -> impl Strategy<Value = KillScope> {
    let name = proptest::sample::select(vec!["r0", "r1", "r2", "gone"]);
    prop_oneof![
        1 => Just(KillScope::All),
        3 => name.clone().prop_map(|name| KillScope::Route(name.into())),
        2 => name.clone().prop_map(|name| KillScope::Shadow(name.into())),
        3 => (name, proptest::sample::select(vec!["a", "b", "stable", "gone"]))
            .prop_map(|(route, variant)| KillScope::Variant { route: route.into(), variant: variant.into() }),
        2 => proptest::sample::select(TENANTS.to_vec()).prop_map(|name| KillScope::Tenant(name.into())),
    ]
}

/// Kills by people; each scope once.
fn any_kills() -> impl Strategy<Value = Vec<CalledKill>> {
    let close = proptest::option::of((0..5_u64).prop_map(Duration::from_secs));
    proptest::collection::btree_map(any_scope(), close, 0..12)
        .prop_map(|all| all.into_iter().map(|(scope, close_streams)| CalledKill { scope, close_streams }).collect())
}

/// Every place of a stream.
fn places() -> impl Iterator<Item = StreamPlace<'static>> {
    let variants = [Some(VariantId(0)), Some(VariantId(1)), Some(VariantId(2)), None];
    let tenants = TENANTS.map(Some).into_iter().chain([None]);
    (0..3).map(RouteId).flat_map(move |route| {
        let tenants = tenants.clone();
        variants
            .into_iter()
            .flat_map(move |variant| tenants.clone().map(move |tenant| StreamPlace { route, variant, tenant }))
    })
}

/// Whether the overlay kills what is at a place.
fn is_killed(overlay: &Overlay, place: StreamPlace<'_>) -> bool {
    overlay.kills(place.route, place.variant, place.tenant)
}

/// Whether a kill covers a place, by its names alone.
fn covers(kill: &CalledKill, place: StreamPlace<'_>) -> bool {
    let variant = |name: &str| ["stable", "a", "b"].iter().position(|known| *known == name);
    let named = |route: &str| ROUTES[place.route.0 as usize] == route;
    place.variant != Some(VariantId::STABLE)
        && match &kill.scope {
            KillScope::All => true,
            KillScope::Route(name) => named(name),
            KillScope::Variant { route, variant: name } => {
                named(route) && place.variant.is_some_and(|id| variant(name) == Some(usize::from(id.0)))
            }
            KillScope::Tenant(name) => place.tenant == Some(name),
            KillScope::Rollout(_) | KillScope::Shadow(_) => false,
        }
}

proptest! {
    #[test]
    fn what_is_in_force_is_the_union(file in any_file(), kills in any_kills()) {
        let union = file.overlay.with_called_kills(&file.rules, &kills);
        for place in places() {
            let called = kills.iter().any(|kill| covers(kill, place));
            prop_assert_eq!(is_killed(&union, place), called || is_killed(&file.overlay, place), "{:?}", place);
        }
        for (id, _) in file.rules.numbered() {
            for (arm, before) in union.split(id).arms().iter().zip(file.overlay.split(id).arms()) {
                prop_assert_eq!((arm.start, arm.weight, arm.latched), (before.start, before.weight, before.latched));
            }
            let is_called = |kill: &CalledKill| match &kill.scope {
                KillScope::Shadow(name) => id == RouteId(2) && name == "r2",
                KillScope::All => true,
                KillScope::Route(_) | KillScope::Variant { .. } | KillScope::Rollout(_) | KillScope::Tenant(_) => false,
            };
            let expected = kills.iter().any(is_called) || file.overlay.shadow_kill(id).is_some();
            prop_assert_eq!(union.shadow_kill(id).is_some(), expected);
        }
    }

    #[test]
    fn the_order_of_kills_does_not_matter(file in any_file(), kills in any_kills()) {
        let mut reversed = kills.clone();
        reversed.reverse();
        let [one, other] = [&kills, &reversed].map(|kills| file.overlay.with_called_kills(&file.rules, kills));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn more_kills_never_serve_more_of_a_canary(file in any_file(), kills in any_kills(), part in 0..12_usize) {
        let fewer = &kills[..part.min(kills.len())];
        let [fewer, more] = [fewer, &kills].map(|kills| file.overlay.with_called_kills(&file.rules, kills));
        for place in places() {
            prop_assert!(!is_killed(&fewer, place) || is_killed(&more, place));
        }
        // The same by the decision itself.
        for (id, route) in file.rules.numbered() {
            for (tenant, bucket) in TENANTS.iter().flat_map(|tenant| (0..8).map(move |n| (*tenant, n))) {
                let name = format!("{tenant}-{bucket}");
                let caller = Caller { user: Some(name.as_str().into()), ..caller(Some(tenant)) };
                let ask = Ask::get("", "/");
                let (head, split) = (ask.head(), route.split().expect("a split"));
                let routed = Routed { route: id, split, head: &head, caller: &caller, cookie_identity: None };
                let decided = |overlay: &Overlay| {
                    decide(&file.rules, overlay, &routed, &mut Spread(0), &mut NoTrace).variant
                };
                let (before, after) = (decided(&fewer), decided(&more));
                prop_assert!(after == before || after == VariantId::STABLE);
            }
        }
    }

    #[test]
    fn the_last_revive_gives_back_the_files_overlay(file in any_file(), kills in any_kills()) {
        let killed = file.overlay.with_called_kills(&file.rules, &kills);
        prop_assert_eq!(&file.overlay.with_called_kills(&file.rules, &[]), &file.overlay);
        // Routes that no kill names share their state with the file's overlay.
        for (id, route) in file.rules.numbered() {
            let is_named = kills.iter().any(|kill| kill.scope.route() == Some(&route.name));
            prop_assert!(is_named || std::ptr::eq(killed.split(id), file.overlay.split(id)));
        }
        let tenants = kills.iter().filter(|kill| matches!(&kill.scope, KillScope::Tenant(name)
            if !file.overlay.kill().tenants.contains(name)));
        prop_assert_eq!(killed.killed_tenants(), file.overlay.kill().tenants.len() + tenants.count());
        if let Some(unkilled) = killed.unkilled() {
            prop_assert!(places().all(|place| !is_killed(&unkilled, place)));
        }
    }

    #[test]
    fn a_stream_is_closed_after_the_earliest_of_its_kills(file in any_file(), kills in any_kills()) {
        let union = file.overlay.with_called_kills(&file.rules, &kills);
        let of_file = file.overlay.kill().close_streams;
        for place in places() {
            let called = kills.iter().filter(|kill| covers(kill, place)).filter_map(|kill| match kill.close_streams {
                Some(Duration::ZERO) => None,
                Some(after) => Some(after),
                None => of_file,
            });
            let by_file = of_file.filter(|_| is_killed(&file.overlay, place));
            prop_assert_eq!(union.close_streams(place), called.chain(by_file).min(), "{:?}", place);
        }
    }
}

#[test]
fn a_scope_is_found_whatever_way_is_taken() {
    let file = killing(Kill::default(), &[]);
    let without_table = Rules { index: Index::default(), ..file.rules.clone() };
    let found = |scope: &KillScope| [&file.rules, &without_table].map(|rules| RouteNames::new(rules).find(scope));
    let variant = |route: &str, variant: &str| KillScope::Variant { route: route.into(), variant: variant.into() };
    for (scope, expected) in [
        (KillScope::All, Ok(FoundScope::All)),
        (KillScope::Tenant("any".into()), Ok(FoundScope::Tenant)),
        (KillScope::Route("r1".into()), Ok(FoundScope::Route(RouteId(1)))),
        (KillScope::Route("r9".into()), Err(ScopeFault::NoRoute)),
        (variant("r2", "b"), Ok(FoundScope::Variant(RouteId(2), VariantId(2)))),
        (variant("r2", "c"), Err(ScopeFault::NoVariant(RouteId(2)))),
        (variant("r2", "stable"), Err(ScopeFault::Stable(RouteId(2)))),
        (KillScope::Shadow("r0".into()), Err(ScopeFault::NoShadow(RouteId(0)))),
        (KillScope::Shadow("r2".into()), Ok(FoundScope::Shadow(RouteId(2)))),
    ] {
        assert_eq!(found(&scope), [expected; 2], "{scope}");
    }
    let file = super::file(vec![route("only", "", "/")], split("only", &[]));
    let only = RouteNames::new(&file.rules).find(&KillScope::Route("only".into()));
    assert_eq!(only, Err(ScopeFault::StableOnly(RouteId(0))));
}
