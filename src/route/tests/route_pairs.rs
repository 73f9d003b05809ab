//! Pairs of routes by name: as a table of all names finds them.

use proptest::prelude::*;

use super::{route, rules};
use crate::route::{RouteId, RouteMoves, RoutePairs, Rules};

/// Names in an order, each once.
fn names() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0_u8..9, 0..9).prop_map(|mut names| {
        let mut seen = [false; 9];
        names.retain(|name| !std::mem::replace(&mut seen[usize::from(*name)], true));
        names
    })
}

fn rules_of(names: &[u8]) -> Rules {
    rules(names.iter().map(|name| route(&name.to_string(), "", "")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_route_is_paired_by_its_name(before in names(), after in names()) {
        let (old, new) = (rules_of(&before), rules_of(&after));
        let pairs = RoutePairs::new(&old, &new);
        for (at, name) in (0..).zip(&after) {
            let expected = (0..).map(RouteId).zip(&before).find(|(_, known)| *known == name).map(|(id, _)| id);
            prop_assert_eq!(pairs.old(RouteId(at)), expected);
        }
        let order: Vec<&u8> = before.iter().filter(|name| after.contains(name)).collect();
        let order_now: Vec<&u8> = after.iter().filter(|name| before.contains(name)).collect();
        prop_assert_eq!(pairs.is_reordered(), order != order_now);
        prop_assert_eq!(pairs.old(RouteId(99)), None);
        prop_assert_eq!(pairs.old(RouteId(u32::try_from(after.len()).unwrap())), None);
    }

    #[test]
    fn the_values_of_routes_move_with_their_names(before in names(), after in names()) {
        let (old, new) = (rules_of(&before), rules_of(&after));
        let moves = RoutePairs::new(&old, &new).moves();
        let new_value = |id: RouteId| 100 + after[id.0 as usize];
        let carried: Option<Vec<u8>> = moves.carry(&before, new_value);
        let expected: Vec<u8> = after.iter().map(|name| name + 100 * u8::from(!before.contains(name))).collect();
        prop_assert_eq!(carried, Some(expected));
        prop_assert_eq!(moves.is_none(), before == after);
        prop_assert_eq!(moves.carry::<u8, Vec<u8>>(&[0; 20], new_value), None, "another number of routes");
        prop_assert!(RouteMoves::default().is_none());
    }
}
