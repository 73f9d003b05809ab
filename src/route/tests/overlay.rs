//! The laws of the overlay: what a change changes, whose buckets are whose, and which stop wins.

use proptest::prelude::*;

use super::*;

/// A state with these weights, of which the last one is cut so that they fit.
fn state(millionths: &[u32]) -> SplitState {
    let mut left = BUCKETS;
    let fitting = millionths.iter().map(|&wanted| {
        let weight = wanted.min(left);
        left -= weight;
        Weight::from_millionths(weight).unwrap()
    });
    SplitState::new(&fitting.collect::<Vec<_>>()).unwrap()
}

fn overlay(states: &[SplitState]) -> Overlay {
    Overlay::new(Kill::default(), states.to_vec())
}

/// The state of a split with three variants other than stable.
fn any_state() -> impl Strategy<Value = SplitState> {
    let stops = proptest::collection::vec((1..4_u16, any::<bool>()), 0..3);
    let kills = (any::<bool>(), any::<bool>());
    (proptest::collection::vec(0..=500_000_u32, 3), kills, stops).prop_map(|(weights, (route, shadow), stops)| {
        let mut state = state(&weights);
        if route {
            state.kill();
        }
        if shadow {
            state.kill_shadow();
        }
        for (id, by_kill) in stops {
            state.stop(VariantId(id), if by_kill { Stop::Kill } else { Stop::Latch });
        }
        state
    })
}

#[test]
fn weights_beyond_a_hundred_are_no_state() {
    let of = |millionths: &[u32]| {
        let weights: Vec<_> = millionths.iter().map(|one| Weight::from_millionths(*one).unwrap()).collect();
        SplitState::new(&weights)
    };
    assert!(of(&[500_000, 500_000]).is_some() && of(&[500_000, 500_001]).is_none());
    assert!(of(&vec![BUCKETS; 5000]).is_none());
    let half = of(&[500_000, 0]).unwrap();
    let weight = |millionths| Weight::from_millionths(millionths).unwrap();
    assert!(half.with_weight(VariantId(2), weight(500_000)).is_some());
    assert!(half.with_weight(VariantId(2), weight(500_001)).is_none());
    assert!(half.with_weight(VariantId::STABLE, weight(1)).is_none(), "stable has what the others leave");
    assert!(half.with_weight(VariantId(3), weight(1)).is_none());
}

#[test]
fn stable_is_never_stopped() {
    let mut two = state(&[50_000]);
    let before = two.clone();
    two.stop(VariantId::STABLE, Stop::Kill);
    two.stop(VariantId(2), Stop::Kill);
    assert_eq!(two, before);
    let all = Kill { all: true, ..Kill::default() };
    let killed = overlay(&[two]).with_kill(all);
    assert!(killed.kills(RouteId(0), Some(VariantId(1)), None) && killed.kills(RouteId(0), None, None));
    assert!(!killed.kills(RouteId(0), Some(VariantId::STABLE), None));
}

#[test]
fn a_kill_that_goes_leaves_the_latch() {
    let mut rolled_back = state(&[50_000]);
    rolled_back.stop(VariantId(1), Stop::Latch);
    let latched = overlay(&[rolled_back.clone()]);
    rolled_back.stop(VariantId(1), Stop::Kill);
    let killed = latched.with([(RouteId(0), rolled_back)]);
    let stopped = |overlay: &Overlay| overlay.split(RouteId(0)).stopped(VariantId(1));
    assert_eq!(stopped(&killed), Some(Stop::Kill), "a kill comes first");
    let revived = killed.unkilled().unwrap();
    assert_eq!((stopped(&revived), revived.changed().len()), (Some(Stop::Latch), 0));
    assert!(revived.unkilled().is_none());
}

#[test]
fn a_kill_covers_what_it_names() {
    let mut one = state(&[50_000, 0]);
    one.stop(VariantId(1), Stop::Kill);
    one.stop(VariantId(2), Stop::Latch);
    let mut other = state(&[50_000]);
    other.kill();
    let tenants = TenantList::new(["acme".into()]);
    let killing = overlay(&[one, other, state(&[1])]).with_kill(Kill { tenants, ..Kill::default() });
    let kills = |route, id: u16, tenant| killing.kills(RouteId(route), Some(VariantId(id)), tenant);
    assert!(kills(0, 1, None) && !kills(0, 2, None), "a latch is no kill");
    assert!(kills(1, 1, None) && !kills(1, 0, None));
    assert!(kills(2, 1, Some("acme")) && !kills(2, 1, Some("globex")) && !kills(2, 1, None));
    assert!(!killing.kills(RouteId(0), None, None) && killing.kills(RouteId(1), None, None));
}

proptest! {
    #[test]
    fn a_change_changes_its_route_alone(
        base in proptest::collection::vec(any_state(), 1..6),
        steps in proptest::collection::vec((any::<prop::sample::Index>(), any_state()), 0..12),
    ) {
        let mut expected = base.clone();
        let first = overlay(&base);
        let mut now = first.clone();
        for (at, state) in steps {
            let at = at.index(base.len());
            now = now.with([(RouteId(u32::try_from(at).unwrap()), state.clone())]);
            expected[at] = state;
            for (id, state) in expected.iter().enumerate() {
                prop_assert_eq!(now.split(RouteId(u32::try_from(id).unwrap())), state);
            }
            // A state equal to that of the files is not stored as a change.
            let differing = base.iter().zip(&expected).filter(|(base, now)| base != now).count();
            prop_assert_eq!(now.changed().len(), differing);
            prop_assert!(now.changed().is_sorted_by(|(a, _), (b, _)| a < b));
        }
        let all = (0..).map(RouteId).zip(base.iter().cloned());
        prop_assert!(now.with(all).changed().is_empty());
        prop_assert!(first.changed().is_empty(), "an overlay never changes");
    }

    #[test]
    fn ranges_are_disjoint_and_stable_has_the_rest(state in any_state(), bucket in 0..BUCKETS) {
        let arms = state.arms();
        let sum: u32 = arms.iter().map(|arm| arm.weight.millionths()).sum();
        prop_assert_eq!(sum, BUCKETS);
        let others: u32 = arms[1..].iter().map(|arm| arm.weight.millionths()).sum();
        prop_assert_eq!((arms[0].start, arms[0].weight.millionths()), (others, BUCKETS - others));
        let matches = |arm: &ArmState| (arm.start..arm.start + arm.weight.millionths()).contains(&bucket);
        let owners: Vec<usize> = (0..arms.len()).filter(|at| matches(&arms[*at])).collect();
        prop_assert_eq!(owners, [usize::from(state.owner(Bucket(bucket)).0)]);
        prop_assert_eq!(state.is_stable_only(), others == 0);
    }

    #[test]
    fn a_lower_weight_of_the_last_moves_those_above_the_border_alone(
        weights in proptest::collection::vec(0..=500_000_u32, 1..4),
        lower in any::<prop::sample::Index>(),
        bucket in 0..BUCKETS,
    ) {
        let before = state(&weights);
        let last = VariantId(u16::try_from(weights.len()).unwrap());
        let was = before.arms()[weights.len()];
        let lower = u32::try_from(lower.index(was.weight.millionths() as usize + 1)).unwrap();
        let after = before.with_weight(last, Weight::from_millionths(lower).unwrap()).unwrap();
        let moved = before.owner(Bucket(bucket)) != after.owner(Bucket(bucket));
        let above = (was.start + lower..was.start + was.weight.millionths()).contains(&bucket);
        prop_assert_eq!(moved, above);
        if moved {
            prop_assert_eq!(after.owner(Bucket(bucket)), VariantId::STABLE);
        }
    }

    #[test]
    fn a_weight_keeps_kills_and_latches(state in any_state(), id in 1..4_u16, millionths in 0..=BUCKETS) {
        let Some(after) = state.with_weight(VariantId(id), Weight::from_millionths(millionths).unwrap()) else {
            return Ok(());
        };
        let kills = |state: &SplitState| (state.is_killed(), state.is_shadow_killed());
        prop_assert_eq!(kills(&after), kills(&state));
        for (arm, before) in after.arms().iter().zip(state.arms()) {
            prop_assert_eq!((arm.killed, arm.latched), (before.killed, before.latched));
        }
        prop_assert_eq!(after.arms()[usize::from(id)].weight.millionths(), millionths);
    }

    #[test]
    fn stops_come_in_any_order(stops in proptest::collection::vec((1..4_u16, any::<bool>()), 0..6)) {
        let stopped = |stops: &mut dyn Iterator<Item = &(u16, bool)>| {
            let mut state = state(&[10, 10, 10]);
            stops.for_each(|(id, by_kill)| state.stop(VariantId(*id), if *by_kill { Stop::Kill } else { Stop::Latch }));
            state
        };
        let state = stopped(&mut stops.iter());
        prop_assert_eq!(&state, &stopped(&mut stops.iter().rev()));
        for id in 1..4 {
            let of = |kill| stops.contains(&(id, kill));
            let expected = if of(true) { Some(Stop::Kill) } else { of(false).then_some(Stop::Latch) };
            prop_assert_eq!(state.stopped(VariantId(id)), expected);
        }
    }

    #[test]
    fn without_kills_weights_and_latches_stay(states in proptest::collection::vec(any_state(), 1..4), all in any::<bool>()) {
        let killing = overlay(&states).with_kill(Kill { all, ..Kill::default() });
        let of_route = |state: &SplitState| state.is_killed() || state.is_shadow_killed();
        let is_killed = |state: &SplitState| of_route(state) || state.arms().iter().any(|arm| arm.killed);
        let any = all || states.iter().any(is_killed);
        prop_assert_eq!(killing.unkilled().is_some(), any);
        let Some(unkilled) = killing.unkilled() else { return Ok(()) };
        prop_assert!(!unkilled.kill().all && unkilled.unkilled().is_none());
        for (id, before) in states.iter().enumerate() {
            let after = unkilled.split(RouteId(u32::try_from(id).unwrap()));
            prop_assert!(!of_route(after));
            for (arm, before) in after.arms().iter().zip(before.arms()) {
                prop_assert_eq!((arm.start, arm.weight), (before.start, before.weight));
                prop_assert_eq!((arm.killed, arm.latched), (false, before.latched));
            }
        }
    }
}
