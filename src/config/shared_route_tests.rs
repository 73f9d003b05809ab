//! What the next load shares with the one before: routes whose text is the same.

use super::Loaded;
use super::load_cache_tests::{RouteEdit, World, route};
use crate::route::Rules;
use crate::tls::LastGood;

/// How many routes of a file share what they say with the load before.
fn shared(before: &Rules, after: &Rules) -> usize {
    let is_shared = |route: &&crate::route::Route| before.routes.iter().any(|old| old.is_shared_with(route));
    after.routes.iter().filter(is_shared).count()
}

fn load(world: &World) -> Loaded {
    world.write();
    world.cache.load(&world.path(), &|_| Some("a".to_owned()), &LastGood::default()).unwrap()
}

#[test]
fn what_has_not_changed_is_shared() {
    let mut world = World::new(&[(0, 1), (0, 2), (1, 3), (0, 4), (0, 5)]);
    let first = load(&world);
    world.apply(&RouteEdit::Replace { at: 1, kind: 1, k: 5 });
    let second = load(&world);
    assert_eq!(shared(&first.rules, &second.rules), 4);
    // A comment belongs to the route before it.
    world.apply(&RouteEdit::Comment { at: 1 });
    let third = load(&world);
    assert_eq!(shared(&second.rules, &third.rules), 4);
    world.apply(&RouteEdit::Swap { a: 0, b: 3 });
    assert_eq!(shared(&third.rules, &load(&world).rules), 3);
}

/// A split, targets of both kinds, a shadow, a rate limit: wherever it is, its parts are found in the file.
#[test]
fn a_route_with_parts_is_shared_wherever_it_is() {
    for kind in [1, 2, 11, 16, 17] {
        let mut world = World::new(&[(0, 1), (kind, 2), (0, 3)]);
        let first = load(&world);
        world.apply(&RouteEdit::Insert { at: 0, kind: 0, k: 4 });
        let second = load(&world);
        assert_eq!(shared(&first.rules, &second.rules), 3, "{kind}");
        let lines = |loaded: &Loaded| -> Vec<u32> {
            let route = &loaded.rules.routes[loaded.rules.routes.len() - 2];
            let targets = route.split().map(|split| split.targets.iter().map(|target| target.line));
            let parts = targets.into_iter().flatten().chain(route.access.iter().map(|rule| rule.line));
            let parts = parts.chain(route.rate_limits.iter().map(|limit| limit.line));
            parts.map(|part| route.place_of(part).line).collect()
        };
        let moved = route(0, 0, 0).lines().count();
        let moved: Vec<u32> = lines(&first).iter().map(|line| line + u32::try_from(moved).unwrap()).collect();
        assert_eq!(lines(&second), moved, "{kind}");
        assert_eq!(moved.is_empty(), !matches!(kind, 2 | 16 | 17), "{kind}");
    }
}

/// More warnings than are shown: their number and the first ones are those of a load of all.
#[test]
fn warnings_are_repeated_without_reading_their_routes() {
    let mut world = World::new(&[(7, 1); 120]);
    world.compare().unwrap();
    let first = load(&world);
    assert!(first.warnings.len() >= 120 && first.warnings.more() > 0, "{}", first.warnings.len());
    for edit in [
        RouteEdit::Replace { at: 60, kind: 0, k: 1 },
        RouteEdit::Comment { at: 1 },
        RouteEdit::Insert { at: 0, kind: 7, k: 2 },
        RouteEdit::Remove { at: 119 },
    ] {
        world.apply(&edit);
        world.compare().unwrap_or_else(|error| panic!("{edit:?}: {error}"));
    }
    assert_eq!(shared(&first.rules, &load(&world).rules), 117);
}

#[test]
fn an_edit_of_a_kill_or_a_comment_reads_no_route() {
    let mut world = World::new(&[(0, 1), (1, 2), (0, 3), (9, 4)]);
    let first = load(&world);
    for value in [1, 3, 4, 5, 0] {
        world.apply(&RouteEdit::Head { value });
        let loaded = load(&world);
        assert_eq!(shared(&first.rules, &loaded.rules), 4, "{value}");
        assert_eq!((loaded.overlay.kill().all, loaded.kills.is_empty()), (value == 3, !matches!(value, 3 | 4)));
    }
    for value in 6..10 {
        world.apply(&RouteEdit::Head { value });
        assert_eq!(shared(&first.rules, &load(&world).rules), 0, "{value}");
    }
}

#[test]
fn an_error_does_not_lose_what_is_known() {
    let mut world = World::new(&[(0, 1), (0, 2), (0, 3)]);
    let first = load(&world);
    world.apply(&RouteEdit::Replace { at: 1, kind: 20, k: 0 });
    world.write();
    assert!(world.cache.load(&world.path(), &|_| None, &LastGood::default()).is_err());
    world.apply(&RouteEdit::Replace { at: 1, kind: 9, k: 0 });
    assert_eq!(shared(&first.rules, &load(&world).rules), 2);
}

#[test]
fn what_depends_on_more_than_its_text_is_read_again() {
    // A rollout, a variable, a file, and a warning of a check of the whole file.
    for kind in [4, 5, 10, 21] {
        let mut world = World::new(&[(0, 1), (kind, 2)]);
        let first = load(&world);
        world.apply(&RouteEdit::Replace { at: 0, kind: 9, k: 1 });
        assert_eq!(shared(&first.rules, &load(&world).rules), 0, "{kind}");
    }
    let mut world = World::new(&[(0, 1), (0, 2)]);
    let first = load(&world);
    world.apply(&RouteEdit::Head { value: 2 });
    assert_eq!(shared(&first.rules, &load(&world).rules), 0, "upstreams have other numbers");
}
