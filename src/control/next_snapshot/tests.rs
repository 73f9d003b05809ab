//! Unchanged entities are the same `Arc`; of changed ones, the parts with an identity of their own are carried over.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::super::hand_over::InheritedSockets;
use super::*;
use crate::config::{Loaded, load_text};
use crate::route::{
    EndpointHost, EndpointRole, EndpointSpec, Extractor, Kill, RouteId, SplitState, Stop, VariantId, Weight,
};
use crate::snapshot::{EndpointState, RouteState, UpstreamState};

const FILE: &str = "\
[upstream.v1]
endpoints = ['http://10.0.0.1:1', 'http://10.0.0.2:1']
[upstream.v2]
endpoints = ['http://v2.internal:2', 'http://10.0.0.3:1']
[[route]]
name = 'api'
match = { path = '/*' }
sticky = ['client_ip']
stable = 'v1'
canary = { upstream = 'v2', weight = 5 }
[[route]]
name = 'docs'
match = { path = '/docs' }
stable = 'v1'
";

const SHADOW: &str = "[route.shadow]\nupstream = 'v2'\nweight = 1\n";

fn loaded(text: &str) -> Loaded {
    let text = format!("schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n{text}");
    load_text("routes.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// Addresses of `v2.internal` that end in these bytes.
fn addresses(ends: &[u8]) -> Addresses {
    let all = ends.iter().map(|end| IpAddr::V4(Ipv4Addr::new(10, 0, 2, *end))).collect();
    [("v2.internal".to_owned(), all)].into()
}

fn next_of(old: Option<&Snapshot>, registry: &MeterRegistry, loaded: Loaded) -> Snapshot {
    let inputs = SnapshotInputs {
        generation: Generation(old.map_or(1, |old| old.generation.0 + 1)),
        rules: Arc::new(loaded.rules),
        overlay: loaded.overlay,
        listeners: Arc::default(),
        identity_providers: IdentityProviders::default(),
        addresses: &addresses(&[1, 2]),
        registry,
        now: Duration::from_secs(1),
        uptime_ms: 1_000,
    };
    build(old, inputs)
}

/// The snapshots of two texts, one after the other.
fn both(before: &str, after: &str) -> (Snapshot, Snapshot) {
    let registry = MeterRegistry::new(1);
    let old = next_of(None, &registry, loaded(before));
    let new = next_of(Some(&old), &registry, loaded(after));
    (old, new)
}

fn changed(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(FILE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn same_series(old: &RouteState, new: &RouteState) -> Vec<bool> {
    old.series.iter().zip(&new.series).map(|(old, new)| Arc::ptr_eq(old, new)).collect()
}

fn same_sample(old: &RouteState, new: &RouteState) -> bool {
    previous::same(old.sample.as_ref(), new.sample.as_ref())
}

fn same_shadow(old: &RouteState, new: &RouteState) -> bool {
    previous::same(old.shadow.as_ref(), new.shadow.as_ref())
}

/// For each endpoint, its previous index.
fn places(old: &UpstreamState, new: &UpstreamState) -> Vec<Option<usize>> {
    let place = |endpoint: &Arc<EndpointState>| old.endpoints.iter().position(|old| Arc::ptr_eq(old, endpoint));
    new.endpoints.iter().map(place).collect()
}

#[test]
fn entities_of_the_same_file_are_the_same() {
    let text = format!("{FILE}{SHADOW}");
    let (old, new) = both(&text, &text);
    assert!(!Arc::ptr_eq(&old.rules, &new.rules), "the file was loaded again");
    for (old, new) in old.routes.iter().zip(&*new.routes) {
        assert!(Arc::ptr_eq(old, new));
    }
    for (old, new) in old.upstreams.iter().zip(&*new.upstreams) {
        assert!(Arc::ptr_eq(old, new));
    }
    assert_eq!(new.upstreams[1].endpoints.len(), 3, "two addresses and one that is written out");
    assert!(new.routes[1].shadow.is_some() && new.upstreams.iter().all(|state| state.shadow_series.is_some()));
}

#[test]
fn entities_are_found_by_name_at_any_index() {
    let (docs, v2) = ("[[route]]\nname = 'docs'\n", "[upstream.v2]\n");
    let text = changed(&[
        (docs, "[[route]]\nname = 'new'\nmatch = { path = '/new' }\nstable = 'v3'\n[[route]]\nname = 'docs'\n"),
        (v2, "[upstream.v3]\nendpoints = ['http://10.0.0.9:1']\n[upstream.v2]\n"),
    ]);
    let (old, new) = both(FILE, &text);
    let names = |snapshot: &Snapshot| snapshot.rules.routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&new), ["api", "new", "docs"]);
    assert!(Arc::ptr_eq(&old.routes[0], &new.routes[0]) && Arc::ptr_eq(&old.routes[1], &new.routes[2]));
    let at = |snapshot: &Snapshot, name: &str| {
        let at = snapshot.rules.upstreams.iter().position(|upstream| upstream.name == name).expect("an upstream");
        Arc::clone(&snapshot.upstreams[at])
    };
    assert!(["v1", "v2"].iter().all(|name| Arc::ptr_eq(&at(&old, name), &at(&new, name))));
}

#[test]
fn an_overlay_renews_the_samples_of_the_routes_that_it_changes() {
    let text = format!("{FILE}canary = {{ upstream = 'v2', weight = 5 }}\n{SHADOW}");
    let registry = MeterRegistry::new(1);
    let first = next_of(None, &registry, loaded(&text));
    let canary = VariantId(1);
    let state = first.overlay.split(RouteId(1)).clone();
    let with = |state: SplitState| first.overlay.with([(RouteId(1), state)]);
    let overlay_of = |old: &Snapshot, overlay: Overlay| with_overlay(old, overlay, &registry, Duration::from_secs(2));
    let stepped = state.with_weight(canary, Weight::FULL).expect("a weight");
    let mut killed = stepped.clone();
    killed.stop(canary, Stop::Kill);
    let mut last = first.clone();
    // A step, a kill, and back to the weights of the file: each changes the audience of the canary.
    for overlay in [with(stepped.clone()), with(killed), first.overlay.clone()] {
        let next = overlay_of(&last, overlay);
        assert!(Arc::ptr_eq(&last.rules, &next.rules) && Arc::ptr_eq(&last.upstreams, &next.upstreams));
        assert!(Arc::ptr_eq(&last.routes[0], &next.routes[0]), "the other route is untouched");
        let (old, new) = (&last.routes[1], &next.routes[1]);
        let samples = [&last, &next].map(|one| one.routes.sample(RouteId(1)));
        assert!(!previous::same(samples[0], samples[1]) && same_shadow(old, new) && new.shadow.is_some());
        assert_eq!(same_series(old, new), [true, true]);
        last = next;
    }
    // An overlay that moves no bucket keeps all states: the same overlay again, and `kill.all`, as in a reload.
    let stepped = overlay_of(&last, with(stepped));
    assert!(stepped.routes.are_shared_with(&overlay_of(&stepped, stepped.overlay.clone()).routes));
    let all = stepped.overlay.with_kill(Kill { all: true, ..Kill::default() });
    assert!(stepped.routes.are_shared_with(&overlay_of(&stepped, all).routes));
}

#[test]
fn an_overlay_over_many_routes_makes_only_what_it_changes() {
    const COUNT: u32 = 20_000;
    let registry = MeterRegistry::new(1);
    let mut many = loaded(FILE);
    let (route, split) = (many.rules.routes[0].clone(), many.overlay.split(RouteId(0)).clone());
    many.rules.routes = (0..COUNT).map(|_| route.clone()).collect();
    many.overlay = Overlay::new(Kill::default(), vec![split.clone(); 20_000]);
    let first = next_of(None, &registry, many);
    let with = |old: &Snapshot, at: u32, weight: u32| {
        let weight = Weight::from_millionths(weight).expect("a weight");
        let stepped = split.with_weight(VariantId(1), weight).expect("weights");
        with_overlay(old, old.overlay.with([(RouteId(at), stepped)]), &registry, Duration::from_secs(2))
    };
    let renewed =
        |snapshot: &Snapshot| (0..COUNT).filter(|at| snapshot.routes.renewed_sample(RouteId(*at)).is_some()).count();
    let second = with(&first, 7, 1_000);
    let third = with(&with(&second, 19_999, 2_000), 7, 3_000);
    assert!(first.routes.have_same_states(&third.routes), "no state is made, and none is copied");
    assert_eq!([&first, &second, &third].map(renewed), [0, 1, 2]);
    for (at, is_same) in [(6, true), (7, false), (19_999, false)] {
        let samples = [&first, &third].map(|one| one.routes.sample(RouteId(at)));
        assert!(samples[0].is_some() && previous::same(samples[0], samples[1]) == is_same, "route {at}");
    }
}

#[test]
fn a_sample_that_an_overlay_has_renewed_outlives_a_reload() {
    let registry = MeterRegistry::new(1);
    let first = next_of(None, &registry, loaded(FILE));
    let killed = |overlay: &Overlay| {
        let mut state = overlay.split(RouteId(0)).clone();
        state.stop(VariantId(1), Stop::Kill);
        overlay.with([(RouteId(0), state)])
    };
    let second = with_overlay(&first, killed(&first.overlay), &registry, Duration::from_secs(2));
    let (api, new) =
        ("[[route]]\nname = 'api'\n", "[[route]]\nname = 'new'\nmatch = { path = '/new' }\nstable = 'v1'\n");
    let text = changed(&[(api, &[new, api].concat())]);
    let mut reloaded = loaded(&text);
    reloaded.overlay = reloaded.overlay.with([(RouteId(1), second.overlay.split(RouteId(0)).clone())]);
    let third = next_of(Some(&second), &registry, reloaded);
    let sample = |snapshot: &Snapshot, at: u32| snapshot.routes.sample(RouteId(at)).cloned();
    assert!(previous::same(sample(&second, 0).as_ref(), sample(&third, 1).as_ref()));
    assert!(!previous::same(sample(&first, 0).as_ref(), sample(&third, 1).as_ref()));
    assert!(third.routes.renewed_sample(RouteId(1)).is_none() && third.routes[1].sample.is_some());
}

#[test]
fn how_routes_have_moved_is_known_since_the_last_order_of_names() {
    use std::rc::Rc;
    let registry = MeterRegistry::new(1);
    let (api, docs) = ("[[route]]\nname = 'api'\n", "[[route]]\nname = 'docs'\n");
    let new = |name: &str| format!("[[route]]\nname = '{name}'\nmatch = {{ path = '/{name}' }}\nstable = 'v1'\n");
    let texts = [
        FILE.to_owned(),
        changed(&[("weight = 5", "weight = 6")]),
        changed(&[(docs, &[&new("a"), docs].concat())]),
        changed(&[(docs, &[&new("a"), docs].concat()), ("weight = 5", "weight = 7")]),
        changed(&[(api, &[&new("b"), api].concat())]),
    ];
    let mut all: Vec<Snapshot> = Vec::new();
    for text in texts {
        let next = next_of(all.last(), &registry, loaded(&text));
        all.push(next);
    }
    let values: Rc<[u32]> = [10, 20].into();
    let carried =
        |from: usize, to: usize, values: &Rc<[u32]>| all[to].routes.carry(&all[from].routes, values, |id| 90 + id.0);
    assert!(Rc::ptr_eq(&values, &carried(0, 1, &values).expect("known")), "the names are the same");
    for (from, to) in [(0, 2), (1, 2), (0, 3), (1, 3)] {
        assert_eq!(carried(from, to, &values).as_deref(), Some(&[10, 91, 20][..]), "{from} to {to}");
    }
    assert_eq!(carried(3, 4, &[1, 2, 3].into()).as_deref(), Some(&[90, 1, 3][..]));
    assert_eq!(carried(0, 4, &values), None, "two orders ago");
    let unknown: crate::snapshot::RouteStates = all[0].routes.to_vec().into();
    assert_eq!(all[1].routes.carry(&unknown, &values, |_| 0), None);
}

#[test]
fn a_route_whose_weights_change_keeps_its_series_and_begins_a_sample() {
    let (old, new) = both(FILE, &changed(&[("weight = 5", "weight = 6")]));
    assert!(!Arc::ptr_eq(&old.routes[0], &new.routes[0]));
    assert_eq!(same_series(&old.routes[0], &new.routes[0]), [true, true]);
    assert!(!same_sample(&old.routes[0], &new.routes[0]));
    assert!(Arc::ptr_eq(&old.routes[1], &new.routes[1]), "the other route is untouched");
}

#[test]
fn a_route_with_another_variant_keeps_the_series_of_the_others() {
    let canary = "canary = { upstream = 'v2', weight = 5 }\n";
    let one = |name| format!("[[route.variant]]\nname = '{name}'\nupstream = 'v2'\nweight = 5\n");
    let (before, after) = (one("red"), one("blue") + &one("red"));
    let (old, new) = both(&changed(&[(canary, &before)]), &changed(&[(canary, &after)]));
    let labels = |state: &RouteState| state.series.iter().map(|one| one.labels.variant.clone()).collect::<Vec<_>>();
    let kept = new.routes[0].series.iter().map(|new| old.routes[0].series.iter().any(|old| Arc::ptr_eq(old, new)));
    let kept: Vec<(String, bool)> = labels(&new.routes[0]).into_iter().zip(kept).collect();
    let expected = [("stable", true), ("blue", false), ("red", true)];
    assert_eq!(kept, expected.map(|(variant, kept)| (variant.to_owned(), kept)));
}

#[test]
fn a_route_that_gets_a_shadow_keeps_the_rest() {
    let (old, new) = both(FILE, &format!("{FILE}{SHADOW}"));
    assert_eq!(same_series(&old.routes[1], &new.routes[1]), [true]);
    assert!(old.routes[1].shadow.is_none() && new.routes[1].shadow.is_some());
    for (old, new) in old.upstreams.iter().zip(&*new.upstreams) {
        assert!(!Arc::ptr_eq(old, new) && new.shadow_series.is_some());
        assert!(Arc::ptr_eq(&old.series, &new.series) && Arc::ptr_eq(&old.endpoints, &new.endpoints));
    }
    let (old, new) = both(&format!("{FILE}{SHADOW}"), &format!("{FILE}{}", SHADOW.replace("v2", "v1")));
    assert!(!same_shadow(&old.routes[1], &new.routes[1]), "copies go elsewhere");
    assert!(Arc::ptr_eq(&old.upstreams[0], &new.upstreams[0]));
    let (old, new) = both(&format!("{FILE}{SHADOW}"), &format!("{FILE}{}", SHADOW.replace("= 1", "= 2")));
    assert!(Arc::ptr_eq(&old.routes[1], &new.routes[1]), "the share is not a part of the state");
}

#[test]
fn a_route_that_needs_more_facts_keeps_its_parts() {
    let registry = MeterRegistry::new(1);
    let old = next_of(None, &registry, loaded(FILE));
    let mut asking = loaded(FILE);
    asking.rules.identity.tenant = vec![Extractor::Claim("tenant".to_owned())];
    let new = next_of(Some(&old), &registry, asking);
    let (old, new) = (&old.routes[0], &new.routes[0]);
    assert!(!old.needs.claims && new.needs.claims && !Arc::ptr_eq(old, new));
    assert_eq!(same_series(old, new), [true, true]);
    assert!(same_sample(old, new));
}

#[test]
fn a_renamed_route_gets_new_series_and_a_new_sample() {
    let (old, new) = both(FILE, &changed(&[("'api'", "'shop'")]));
    assert_eq!(same_series(&old.routes[0], &new.routes[0]), [false, false]);
    assert!(!same_sample(&old.routes[0], &new.routes[0]));
}

#[test]
fn a_route_with_the_labels_of_no_route_shares_their_series() {
    let text = "[[route]]\nname = 'none'\nmatch = { path = '/' }\nrespond = { status = 204 }\n";
    let registry = MeterRegistry::new(1);
    let state = &next_of(None, &registry, loaded(text)).routes[0];
    assert!(Arc::ptr_eq(&state.series[0], &registry.unrouted), "a scrape must not name a series twice");
}

#[test]
fn an_upstream_keeps_its_series_and_the_unchanged_endpoints() {
    let (old, new) = both(FILE, &changed(&[("['http://10.0.0.1:1', ", "['http://10.0.0.7:1', 'http://10.0.0.1:1', ")]));
    assert!(!Arc::ptr_eq(&old.upstreams[0], &new.upstreams[0]));
    assert!(Arc::ptr_eq(&old.upstreams[0].series, &new.upstreams[0].series));
    assert_eq!(places(&old.upstreams[0], &new.upstreams[0]), [None, Some(0), Some(1)]);
    assert!(Arc::ptr_eq(&old.upstreams[1], &new.upstreams[1]), "the other upstream is untouched");
    let (old, new) = both(FILE, &changed(&[("[upstream.v1]\n", "[upstream.v1]\nconnect_timeout = '9s'\n")]));
    assert_ne!(old.rules.upstreams[0], new.rules.upstreams[0]);
    assert!(Arc::ptr_eq(&old.upstreams[0], &new.upstreams[0]), "`connect_timeout` is not a part of the state");
}

/// An upstream of this many endpoints, of which one has this role.
fn fleet(count: usize, at: usize, role: EndpointRole) -> Loaded {
    let mut fleet = loaded(&FILE.replace("[upstream.v1]\n", "[upstream.v1]\nbalance = 'hash'\n"));
    let first = fleet.rules.upstreams[0].endpoints[0].clone();
    let one = |nth: usize| {
        let [.., high, low] = nth.to_be_bytes();
        let host = EndpointHost::Ip(IpAddr::V4(Ipv4Addr::new(10, 1, high, low)));
        EndpointSpec { host, role: if nth == at { role } else { EndpointRole::Primary }, ..first.clone() }
    };
    fleet.rules.upstreams[0].endpoints = (0..count).map(one).collect();
    fleet
}

#[test]
fn a_change_of_one_of_many_endpoints_carries_over_all_others_and_the_ring() {
    const COUNT: usize = 2_000;
    let registry = MeterRegistry::new(1);
    let old = next_of(None, &registry, fleet(COUNT, 0, EndpointRole::Primary));
    let new = next_of(Some(&old), &registry, fleet(COUNT, 77, EndpointRole::Drained));
    let (old, new) = (&old.upstreams[0], &new.upstreams[0]);
    let kept = old.endpoints.iter().zip(&*new.endpoints).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
    assert_eq!((kept, new.endpoints.len()), (COUNT - 1, COUNT));
    assert!(Arc::ptr_eq(&old.endpoints[77].health, &new.endpoints[77].health), "its state too");
    let ring = |state: &UpstreamState| state.ring.clone().expect("a ring");
    assert!(Arc::ptr_eq(&ring(old), &ring(new)), "addresses and weights are the same");
    let fewer = next_of(
        Some(&next_of(None, &registry, fleet(9, 0, EndpointRole::Primary))),
        &registry,
        fleet(8, 0, EndpointRole::Primary),
    );
    assert_eq!(ring(&fewer.upstreams[0]).members().len(), 8);
    assert!(fewer.upstreams[1].ring.is_none(), "another balance needs none");
}

#[test]
fn a_dns_answer_changes_the_upstreams_of_that_name() {
    let old = next_of(None, &MeterRegistry::new(1), loaded(FILE));
    // First, since an endpoint that is gone loses its state while all is well.
    let same = with_addresses(&old, "v2.internal", EndpointInputs { addresses: &addresses(&[1, 2]), now_ms: 0 });
    assert!(old.upstreams.iter().zip(&*same).all(|(old, new)| Arc::ptr_eq(old, new)));
    let upstreams = with_addresses(&old, "v2.internal", EndpointInputs { addresses: &addresses(&[2, 3]), now_ms: 0 });
    assert!(Arc::ptr_eq(&old.upstreams[0], &upstreams[0]), "no endpoint has this name");
    assert!(Arc::ptr_eq(&old.upstreams[1].series, &upstreams[1].series));
    assert_eq!(places(&old.upstreams[1], &upstreams[1]), [Some(1), None, Some(2)]);
    let next = Snapshot { upstreams, ..old.clone() };
    assert!(
        Arc::ptr_eq(&old.rules, &next.rules) && old.routes.are_shared_with(&next.routes),
        "a clone shares the rest"
    );
}

#[test]
fn a_listener_keeps_its_socket_and_its_meters() {
    let mut specs = loaded("").rules.listeners;
    let bind = |old: &[Arc<Listener>], specs: &[_]| {
        let new = listeners(old, specs, &[None], 1, &mut InheritedSockets::default());
        Arc::clone(&new.expect("bound")[0])
    };
    let old = bind(&[], &specs);
    assert!(Arc::ptr_eq(&old, &bind(&[Arc::clone(&old)], &specs)));
    specs[0].limits.connections += 1;
    let new = bind(&[Arc::clone(&old)], &specs);
    assert!(!Arc::ptr_eq(&old, &new) && new.spec == specs[0]);
    assert!(Arc::ptr_eq(&old.socket, &new.socket) && Arc::ptr_eq(&old.meters, &new.meters));
}

/// The parts of a route that its state depends on, and a timeout, on which it does not depend.
#[derive(Clone, Debug, PartialEq)]
struct RouteModel {
    name: u8,
    canary: Option<u8>,
    shadow: Option<u8>,
    timeout: u8,
}

/// All routes, and the endpoints of both upstreams, each with its weight.
#[derive(Clone, Debug)]
struct FileModel {
    routes: Vec<RouteModel>,
    endpoints: [Vec<(u8, u8)>; 2],
}

impl FileModel {
    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (at, endpoints) in self.endpoints.iter().enumerate() {
            let one = |(port, weight): &(u8, u8)| format!("{{ url = 'http://10.0.0.1:{port}', weight = {weight} }}");
            let all: Vec<String> = endpoints.iter().map(one).collect();
            let _ = writeln!(text, "[upstream.u{at}]\nendpoints = [{}]", all.join(", "));
        }
        for RouteModel { name, canary, shadow, timeout } in &self.routes {
            let _ = writeln!(text, "[[route]]\nname = 'r{name}'\nmatch = {{ path = '/{name}' }}\nstable = 'u0'");
            if let Some(weight) = canary {
                let _ = writeln!(text, "sticky = ['client_ip']\ncanary = {{ upstream = 'u1', weight = {weight} }}");
            }
            let _ = writeln!(text, "timeout = {{ request = '{timeout}s' }}");
            if let Some(upstream) = shadow {
                let _ = writeln!(text, "[route.shadow]\nupstream = 'u{upstream}'\nweight = 1");
            }
        }
        text
    }

    fn has_shadows(&self) -> bool {
        self.routes.iter().any(|route| route.shadow.is_some())
    }
}

prop_compose! {
    fn route_model(name: u8)(
        canary in proptest::option::of(1_u8..3),
        shadow in proptest::option::of(0_u8..2),
        timeout in 1_u8..3,
    ) -> RouteModel {
        RouteModel { name, canary, shadow, timeout }
    }
}

fn file_model() -> impl Strategy<Value = FileModel> {
    let endpoints = || {
        let ports = proptest::sample::subsequence(vec![1_u8, 2, 3], 1..=3).prop_shuffle();
        ports.prop_flat_map(|ports| ports.into_iter().map(|port| (Just(port), 1_u8..3)).collect::<Vec<_>>())
    };
    let names = proptest::sample::subsequence(vec![0_u8, 1, 2, 3], 0..=4).prop_shuffle();
    let routes = names.prop_flat_map(|names| names.into_iter().map(route_model).collect::<Vec<_>>());
    (routes, [endpoints(), endpoints()]).prop_map(|(routes, endpoints)| FileModel { routes, endpoints })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// After any edit, unchanged entities are the same `Arc`, and changed ones are not.
    #[test]
    fn unchanged_entities_are_the_same_and_changed_ones_are_not(before in file_model(), after in file_model()) {
        let (old, new) = both(&before.text(), &after.text());
        for (model, state) in after.routes.iter().zip(&*new.routes) {
            let same_name = |(old, _): &(&RouteModel, &Arc<RouteState>)| old.name == model.name;
            let Some((was, old)) = before.routes.iter().zip(&*old.routes).find(same_name) else {
                prop_assert!(!old.routes.iter().any(|old| Arc::ptr_eq(old, state)));
                continue;
            };
            prop_assert!(same_series(old, state).into_iter().all(|same| same), "stable's, and the canary's if both have one");
            prop_assert_eq!(same_sample(old, state), was.canary == model.canary);
            prop_assert_eq!(same_shadow(old, state), was.shadow == model.shadow);
            let is_same = was.canary == model.canary && was.shadow == model.shadow;
            prop_assert_eq!(Arc::ptr_eq(old, state), is_same);
        }
        for at in 0..2 {
            let (was, is) = (&before.endpoints[at], &after.endpoints[at]);
            let place = |endpoint: &(u8, u8)| was.iter().position(|was| was == endpoint);
            prop_assert_eq!(places(&old.upstreams[at], &new.upstreams[at]), is.iter().map(place).collect::<Vec<_>>());
            prop_assert!(Arc::ptr_eq(&old.upstreams[at].series, &new.upstreams[at].series));
            prop_assert_eq!(Arc::ptr_eq(&old.upstreams[at].endpoints, &new.upstreams[at].endpoints), was == is);
            let is_same = was == is && before.has_shadows() == after.has_shadows();
            prop_assert_eq!(Arc::ptr_eq(&old.upstreams[at], &new.upstreams[at]), is_same);
        }
    }
}
