//! Checks in simulated time: who shares them, when they begin, and what a reload keeps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::{Strategy, prop_oneof, proptest};

use super::super::schedule::CHECKS_AT_ONCE_MAX;
use super::*;
use crate::config::load_text;
use crate::control::next_snapshot::{SnapshotInputs, build};
use crate::failover::{CheckCounts, CheckedHealth};
use crate::identity::IdentityProviders;
use crate::route::Generation;
use crate::telemetry::MeterRegistry;

/// A book that follows files, without a network.
struct Scene {
    registry: MeterRegistry,
    snapshot: Option<Snapshot>,
    book: CheckBook,
}

impl Scene {
    fn new(upstreams: &str) -> Self {
        let mut scene = Self { registry: MeterRegistry::new(1), snapshot: None, book: CheckBook::default() };
        assert!(scene.reload(upstreams, 0).is_empty());
        scene
    }

    fn reload(&mut self, upstreams: &str, now_ms: u64) -> Vec<CheckId> {
        let text = format!(
            "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n{upstreams}\n\
             [[route]]\nname = 'all'\nmatch = {{ path = '/*' }}\nstable = 'a'\n"
        );
        let loaded = load_text("routes.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        let inputs = SnapshotInputs {
            generation: Generation(1),
            rules: Arc::new(loaded.rules),
            overlay: loaded.overlay,
            listeners: Arc::default(),
            identity_providers: IdentityProviders::default(),
            addresses: &addresses(),
            registry: &self.registry,
            now: Duration::ZERO,
            uptime_ms: now_ms,
        };
        let snapshot = build(self.snapshot.as_ref(), inputs);
        let gone = self.book.follow(&snapshot, now_ms);
        self.snapshot = Some(snapshot);
        gone
    }

    /// Begins what is due: the checks, and when the next one is due.
    fn begin(&mut self, now_ms: u64) -> (Vec<BegunCheck>, Option<u64>) {
        let mut begun = Vec::new();
        loop {
            match self.book.next(now_ms) {
                CheckStep::Make(check) => begun.push(check),
                CheckStep::WaitUntil(ms) => return (begun, Some(ms)),
                CheckStep::Wait => return (begun, None),
            }
        }
    }

    /// Begins and ends what is due; returns how many, and when the next one is due.
    fn pass(&mut self, outcome: &CheckOutcome, now_ms: u64) -> (usize, Option<u64>) {
        let (begun, _) = self.begin(now_ms);
        for one in &begun {
            self.end(one.id, outcome, now_ms);
        }
        let (more, next) = self.begin(now_ms);
        assert!(more.is_empty(), "a check is not due at once again");
        (begun.len(), next)
    }

    fn end(&mut self, id: CheckId, outcome: &CheckOutcome, now_ms: u64) {
        self.book.end(id, &EndedCheck { outcome: Some(outcome.clone()), now_ms, draw: 0.5 });
    }

    fn upstream(&self, at: usize) -> &UpstreamState {
        &self.snapshot.as_ref().expect("a snapshot").upstreams[at]
    }

    fn verdict(&self, upstream: usize, endpoint: usize) -> CheckedHealth {
        self.upstream(upstream).endpoints[endpoint].health.checked()
    }
}

/// Two names of one address.
fn addresses() -> HashMap<String, Vec<IpAddr>> {
    ["a.test", "b.test"].map(|name| (name.to_owned(), vec![IpAddr::from([10, 0, 0, 1])])).into()
}

fn bad() -> CheckOutcome {
    CheckOutcome::Bad("answers 503".into())
}

fn upstream(name: &str, endpoints: &str, health: &str) -> String {
    format!("[upstream.{name}]\nendpoints = [{endpoints}]\nhealth = {{ {health} }}\n")
}

#[test]
fn upstreams_that_name_one_address_share_its_check_and_each_has_its_thresholds() {
    let endpoint = "'http://10.0.0.1:80'";
    let mut scene = Scene::new(
        &(upstream("a", endpoint, "path = '/h', unhealthy = 2")
            + &upstream("b", endpoint, "path = '/h', unhealthy = 3")),
    );
    let mut now_ms = 0;
    for (outcome, a, b) in [
        (CheckOutcome::Good, CheckedHealth::Healthy, CheckedHealth::Healthy),
        (bad(), CheckedHealth::Healthy, CheckedHealth::Healthy),
        (bad(), CheckedHealth::Unhealthy, CheckedHealth::Healthy),
        (bad(), CheckedHealth::Unhealthy, CheckedHealth::Unhealthy),
    ] {
        let (count, next) = scene.pass(&outcome, now_ms);
        assert_eq!((count, scene.verdict(0, 0), scene.verdict(1, 0)), (1, a, b));
        now_ms = next.expect("another check");
    }
    for at in [0, 1] {
        assert_eq!(scene.upstream(at).health.check_counts(), CheckCounts { good: 1, bad: 3, ..CheckCounts::default() });
    }
}

#[test]
fn an_address_with_two_names_is_checked_once() {
    let mut scene = Scene::new(&upstream("a", "'http://a.test:80', 'http://b.test:80'", "path = '/h'"));
    assert_eq!(scene.pass(&CheckOutcome::Good, 0).0, 1);
    assert_eq!(scene.upstream(0).health.check_counts().good, 1);
}

#[test]
fn other_questions_to_an_address_wait_a_quarter_of_a_second() {
    let endpoint = "'http://10.0.0.1:80'";
    let mut scene = Scene::new(
        &(upstream("a", endpoint, "path = '/h'")
            + &upstream("b", endpoint, "path = '/other'")
            + &upstream("c", endpoint, "tcp = true")),
    );
    for now_ms in [0, 250, 500] {
        assert_eq!(scene.begin(now_ms).0.len(), 1, "at {now_ms}");
        assert_eq!(scene.begin(now_ms + 249).0.len(), 0);
    }
    let other_port =
        Scene::new(&(upstream("a", endpoint, "tcp = true") + &upstream("b", endpoint, "tcp = true, port = 81")))
            .begin(0)
            .0;
    let ports: BTreeSet<u16> = other_port.iter().map(|one| one.target.address.port()).collect();
    assert_eq!(ports, [80, 81].into(), "another port is another address");
}

#[test]
fn after_a_change_the_next_check_comes_at_a_quarter_of_the_interval() {
    let mut scene = Scene::new(&upstream("a", "'http://10.0.0.1:80'", "path = '/h', interval = '8s', unhealthy = 1"));
    assert_eq!(scene.pass(&CheckOutcome::Good, 0), (1, Some(2_000)), "the first verdict is a change");
    assert_eq!(scene.pass(&CheckOutcome::Good, 2_000), (1, Some(10_000)));
    assert_eq!(scene.pass(&bad(), 10_000), (1, Some(12_000)));
    assert_eq!(scene.pass(&bad(), 12_000), (1, Some(20_000)));
    let (begun, _) = scene.begin(20_000);
    scene.book.end(begun[0].id, &EndedCheck { outcome: None, now_ms: 20_000, draw: 0.0 });
    assert_eq!(scene.begin(20_000).1, Some(21_800), "a check that has shown nothing is made again soon");
    assert_eq!(scene.verdict(0, 0), CheckedHealth::Unhealthy);
}

#[test]
fn a_reload_keeps_times_and_verdicts_of_what_did_not_change() {
    let two = "'http://10.0.0.1:80', 'http://10.0.0.2:80'";
    let mut scene = Scene::new(&upstream("a", two, "path = '/h', interval = '8s', unhealthy = 1"));
    let (begun, _) = scene.begin(0);
    assert_eq!(begun.len(), 2);
    for one in &begun {
        scene.end(one.id, &bad(), 0);
    }
    // Another weight, another threshold, and a third endpoint.
    let three = "{ url = 'http://10.0.0.1:80', weight = 3 }, 'http://10.0.0.2:80', 'http://10.0.0.3:80'";
    assert!(scene.reload(&upstream("a", three, "path = '/h', interval = '8s'"), 100).is_empty());
    let (begun, next) = scene.begin(100);
    assert_eq!((begun.len(), next), (1, Some(2_000)), "only the new one is due");
    assert_eq!(
        [0, 1, 2].map(|at| scene.verdict(0, at)),
        [CheckedHealth::Unhealthy, CheckedHealth::Unhealthy, CheckedHealth::Unknown]
    );
    // It is removed while its check is under way.
    assert_eq!(scene.reload(&upstream("a", two, "path = '/h', interval = '8s'"), 200), [begun[0].id]);
    scene.end(begun[0].id, &CheckOutcome::Good, 300);
    assert_eq!((scene.upstream(0).health.check_counts().good, scene.book.under_way()), (0, 0), "it is ignored");
    // Another question is asked at once; the verdicts stay until it is answered.
    scene.reload(&upstream("a", two, "path = '/other', interval = '8s'"), 400);
    assert_eq!((scene.begin(400).0.len(), scene.verdict(0, 0)), (2, CheckedHealth::Unhealthy));
    // Without checks nothing is left.
    scene.reload("[upstream.a]\nendpoints = ['http://10.0.0.1:80']\n", 500);
    assert_eq!((scene.verdict(0, 0), scene.book.sizes()), (CheckedHealth::Unchecked, [0; 5]));
}

#[test]
fn ten_thousand_changes_and_reloads_leave_nothing_behind() {
    let one = |weight: u64| format!("{{ url = 'http://10.0.0.1:80', weight = {weight} }}");
    let file = |weight| upstream("a", &one(weight), "path = '/h', unhealthy = 1, healthy = 1");
    let mut scene = Scene::new(&file(1));
    let (mut now_ms, mut before) = (0, scene.upstream(0).health.rotation());
    for change in 0..10_000_u64 {
        let outcome = if change % 2 == 0 { bad() } else { CheckOutcome::Good };
        let (count, next) = scene.pass(&outcome, now_ms);
        let rotation = scene.upstream(0).health.rotation();
        assert!(count == 1 && rotation > before, "each is a change");
        (now_ms, before) = (next.expect("another check"), rotation);
        if change % 1_000 == 0 {
            scene.reload(&file(change / 1_000 + 2), now_ms);
        }
    }
    assert_eq!((scene.book.sizes(), scene.book.under_way()), ([1; 5], 0));
    assert_eq!(scene.upstream(0).health.check_counts().late, 0);
}

#[test]
fn a_check_that_waits_for_another_of_its_address_is_not_late() {
    let mut schedule = CheckSchedule::default();
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    for id in 1..=3 {
        schedule.add(CheckId(id), address, Duration::from_secs(1), 0);
    }
    let begun = [0, 250, 500].map(|now_ms| schedule.next(now_ms));
    let begins = |id, late_ms| NextCheck::Begin { id: CheckId(id), late_ms };
    assert_eq!(begun, [begins(1, 0), begins(2, 0), begins(3, 500)], "one turn is on time, two are not");
}

/// So many checks, each of which takes `takes_ms`: how often each began, and the latest of all.
fn simulate(checks: u64, takes_ms: u64, until_ms: u64) -> (BTreeMap<u64, u64>, u64) {
    let mut schedule = CheckSchedule::default();
    for id in 1..=checks {
        let [_, _, b, c] = u32::try_from(id).expect("small").to_be_bytes();
        schedule.add(CheckId(id), SocketAddr::from(([10, 0, b, c], 80)), Duration::from_secs(5), 0);
    }
    let (mut ends, mut begins, mut latest, mut now_ms) = (BTreeSet::new(), BTreeMap::new(), 0, 0);
    while now_ms < until_ms {
        let next = loop {
            match schedule.next(now_ms) {
                NextCheck::Begin { id, late_ms } => {
                    *begins.entry(id.0).or_default() += 1;
                    latest = latest.max(late_ms);
                    ends.insert((now_ms + takes_ms, id));
                    assert!(schedule.under_way() <= CHECKS_AT_ONCE_MAX && ends.len() == schedule.under_way());
                }
                NextCheck::At(ms) => break ms,
                NextCheck::Nothing => break u64::MAX,
            }
        };
        now_ms = ends.first().map_or(next, |(ms, _): &(u64, CheckId)| next.min(*ms));
        while let Some((_, id)) = ends.first().copied().filter(|(ms, _)| *ms <= now_ms) {
            ends.pop_first();
            // A draw that depends on the check, so that they spread.
            schedule.end(id, CheckPace::Usual, now_ms, f64::from(u32::try_from(id.0 % 97).expect("small")) / 97.0);
        }
    }
    (begins, latest)
}

#[test]
fn ten_thousand_endpoints_are_checked_64_at_once_and_in_turn() {
    let (begins, latest) = simulate(10_000, 10, 11_000);
    let counts: BTreeSet<u64> = begins.values().copied().collect();
    assert_eq!(begins.len(), 10_000);
    assert!(counts.iter().all(|count| (2..=3).contains(count)), "{counts:?} in two intervals");
    assert!((500..=2_000).contains(&latest), "the first round takes one and a half seconds: {latest}");
}

#[test]
fn checks_that_do_not_fit_stretch_the_interval_for_all_alike() {
    let (begins, latest) = simulate(2_000, 1_000, 200_000);
    // 64 a second: a round takes 31 s, not 5.
    let counts: BTreeSet<u64> = begins.values().copied().collect();
    assert!(counts.iter().all(|count| (6..=8).contains(count)), "{counts:?}");
    assert!((20_000..=32_000).contains(&latest), "{latest} ms late");
}

#[derive(Clone, Debug)]
enum Act {
    Add { address: u8 },
    Remove { nth: usize },
    Advance { ms: u64 },
    End { nth: usize, soon: bool, draw: f64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0_u8..6).prop_map(|address| Act::Add { address }),
        1 => (0_usize..100).prop_map(|nth| Act::Remove { nth }),
        3 => (0_u64..2_000).prop_map(|ms| Act::Advance { ms }),
        4 => (0_usize..100, proptest::bool::ANY, 0.0..=1.0).prop_map(|(nth, soon, draw)| Act::End { nth, soon, draw }),
    ]
}

proptest! {
    #[test]
    fn an_address_is_never_asked_too_often_and_none_is_forgotten(acts in proptest::collection::vec(act(), 1..200)) {
        let (mut schedule, mut now_ms, mut last_id) = (CheckSchedule::default(), 0, 0);
        let mut idle: BTreeMap<CheckId, SocketAddr> = BTreeMap::new();
        let mut busy: BTreeMap<CheckId, SocketAddr> = BTreeMap::new();
        let mut last: HashMap<SocketAddr, u64> = HashMap::new();
        for act in acts {
            match act {
                Act::Add { address } => {
                    last_id += 1;
                    let address = SocketAddr::from(([10, 0, 0, address], 80));
                    schedule.add(CheckId(last_id), address, Duration::from_secs(1), now_ms);
                    idle.insert(CheckId(last_id), address);
                }
                Act::Remove { nth } => {
                    let all: Vec<CheckId> = idle.keys().chain(busy.keys()).copied().collect();
                    let Some(id) = all.get(nth % all.len().max(1)) else { continue };
                    schedule.remove(*id);
                    let address = idle.remove(id).or_else(|| busy.remove(id)).expect("one of them");
                    if !idle.values().chain(busy.values()).any(|other| *other == address) {
                        last.remove(&address);
                    }
                }
                Act::Advance { ms } => now_ms += ms,
                Act::End { nth, soon, draw } => {
                    let Some(id) = busy.keys().nth(nth % busy.len().max(1)).copied() else { continue };
                    let pace = if soon { CheckPace::Soon } else { CheckPace::Usual };
                    schedule.end(id, pace, now_ms, draw);
                    idle.extend(busy.remove_entry(&id));
                }
            }
            loop {
                match schedule.next(now_ms) {
                    NextCheck::Begin { id, .. } => {
                        let address = idle.remove(&id).expect("one that waits");
                        let before = last.insert(address, now_ms);
                        assert!(before.is_none_or(|ms| now_ms - ms >= 250), "too soon");
                        busy.insert(id, address);
                    }
                    NextCheck::At(ms) => {
                        assert!(ms > now_ms && ms <= now_ms + 250 * 200, "{ms} at {now_ms}");
                        break;
                    }
                    NextCheck::Nothing => {
                        assert!(idle.is_empty() || busy.len() == CHECKS_AT_ONCE_MAX, "one waits for nothing");
                        break;
                    }
                }
            }
            assert_eq!(schedule.under_way(), busy.len());
            assert_eq!(schedule.sizes()[..2], [idle.len() + busy.len(), idle.len()]);
        }
    }
}
